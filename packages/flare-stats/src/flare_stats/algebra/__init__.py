"""Statistics of parts that merge into those of the whole."""

from flare_stats.algebra.categories import Categories
from flare_stats.algebra.comoments import CoMoments
from flare_stats.algebra.distinct import Distinct
from flare_stats.algebra.fields import AlgebraError
from flare_stats.algebra.histogram import HistogramCounts
from flare_stats.algebra.moments import Moments
from flare_stats.algebra.numbers import Numbers, to_floats, to_numbers
from flare_stats.algebra.ranks import RankSketch

__all__ = [
    "AlgebraError",
    "Categories",
    "CoMoments",
    "Distinct",
    "HistogramCounts",
    "Moments",
    "Numbers",
    "RankSketch",
    "to_floats",
    "to_numbers",
]
