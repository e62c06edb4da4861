"""Statistics of parts that merge into those of the whole."""

from flare_stats.algebra.categories import Categories
from flare_stats.algebra.fields import AlgebraError
from flare_stats.algebra.histogram import HistogramCounts
from flare_stats.algebra.moments import Moments
from flare_stats.algebra.numbers import Numbers, to_numbers
from flare_stats.algebra.ranks import RankSketch

__all__ = [
    "AlgebraError",
    "Categories",
    "HistogramCounts",
    "Moments",
    "Numbers",
    "RankSketch",
    "to_numbers",
]
