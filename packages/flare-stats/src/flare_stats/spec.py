"""The names in which statistics are asked for and answered, and the base class of generators of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from flare_core import SiteContext
from flare_stats.errors import StatsError


class DataType(Enum):
    """The kind of values of a feature."""

    INT = 0
    FLOAT = 1
    STRING = 2
    BYTES = 3
    STRUCT = 4
    DATETIME = 5
    BOOL = 6
    CATEGORY = 7


class Feature(NamedTuple):
    """A column of a data set."""

    feature_name: str
    data_type: DataType


class BinRange(NamedTuple):
    """The range of a bin: ``min_value`` belongs to it, ``max_value`` only to the last bin of a histogram."""

    min_value: float
    max_value: float


class Bin(NamedTuple):
    """A bin of a histogram and the number of values in it."""

    low_value: float
    high_value: float
    sample_count: int


class HistogramType(Enum):
    """How the bins of a histogram were chosen."""

    STANDARD = 0
    QUANTILES = 1


class Histogram(NamedTuple):
    """Bins that lie side by side."""

    hist_type: HistogramType
    bins: list[Bin]
    hist_name: str | None = None


class StatisticConfig(NamedTuple):
    """A statistic's name and its options by feature, as one entry of ``statistic_configs``."""

    name: str
    config: dict[str, Any]


class Statistics:
    """A generator of statistics of one's own; override the methods whose statistics you compute yourself.

    Only methods that are overridden are used. The others' statistics are computed from :attr:`data`, if
    :meth:`initialize` sets it; else they are reported as missing for the site. A method that raises an exception costs
    its own statistic at its own site, and the exception's text is the reason that is reported.

    The arguments of ``__init__`` are kept in attributes of the same names, so that the job can be sent to sites.
    """

    data: Mapping[str, Any] | None = None
    """The data sets by name, each in a form that :func:`flare_stats.sources.open_source` reads."""

    def initialize(self, context: SiteContext) -> None:
        """Prepare for the other methods, such as by loading data; called once, before them."""

    def pre_run(
        self,
        statistics: Sequence[str],
        num_of_bins: Mapping[str, int | None] | None,
        bin_ranges: Mapping[str, Sequence[float] | None] | None,
    ) -> Mapping[str, Any]:
        """Look at what will be asked, before it is; the result is not used.

        Args:
            statistics: names of statistics.
            num_of_bins: by feature, how many bins its histogram has.
            bin_ranges: by feature, the range of its histogram; None where it has to be found.
        """
        return {}

    def features(self) -> Mapping[str, Sequence[Feature]]:
        """Return the features of each data set."""
        _left_out()

    def count(self, dataset_name: str, feature_name: str) -> int:
        """Return the number of values that are there: neither missing nor failures."""
        _left_out()

    def missing(self, dataset_name: str, feature_name: str) -> int:
        """Return the number of missing values."""
        _left_out()

    def failure_count(self, dataset_name: str, feature_name: str) -> int:
        """Return the number of values that could not be used."""
        _left_out()

    def sum(self, dataset_name: str, feature_name: str) -> float:
        """Return the sum of the values."""
        _left_out()

    def mean(self, dataset_name: str, feature_name: str) -> float:
        """Return the mean of the values."""
        _left_out()

    def stddev(self, dataset_name: str, feature_name: str) -> float:
        """Return the standard deviation of the site's own values, with the divisor count - 1."""
        _left_out()

    def variance_with_mean(
        self, dataset_name: str, feature_name: str, global_mean: float, global_count: float
    ) -> float:
        """Return the sum over the site's values of (value - global_mean)**2 / (global_count - 1).

        Args:
            dataset_name: the data set.
            feature_name: the feature.
            global_mean: the mean of the values of all sites.
            global_count: their number.
        """
        _left_out()

    def histogram(
        self,
        dataset_name: str,
        feature_name: str,
        num_of_bins: int,
        global_min_value: float,
        global_max_value: float,
    ) -> Histogram:
        """Return the numbers of values in bins of equal width.

        Args:
            dataset_name: the data set.
            feature_name: the feature.
            num_of_bins: how many bins.
            global_min_value: the lower edge of the first one.
            global_max_value: the upper edge of the last one.
        """
        _left_out()

    def max_value(self, dataset_name: str, feature_name: str) -> float:
        """Return the largest value; noise is added to it before it leaves the site."""
        _left_out()

    def min_value(self, dataset_name: str, feature_name: str) -> float:
        """Return the smallest value; noise is added to it before it leaves the site."""
        _left_out()

    def quantiles(self, dataset_name: str, feature_name: str, percentiles: Sequence[float]) -> Mapping[float, float]:
        """Return the site's own quantiles by their fractions, such as ``{0.5: 4.1}``; those of all sites need ranks.

        Args:
            dataset_name: the data set.
            feature_name: the feature.
            percentiles: the fractions, in [0, 1].
        """
        _left_out()

    def ranks(self, dataset_name: str, feature_name: str, thresholds: Sequence[float]) -> Sequence[int]:
        """Return how many values are at most each threshold; from this come quantiles, also those of all sites.

        Args:
            dataset_name: the data set.
            feature_name: the feature.
            thresholds: numbers in ascending order; may be infinite.
        """
        _left_out()

    def categories(self, dataset_name: str, feature_name: str) -> Mapping[str, int]:
        """Return the number of values by category."""
        _left_out()

    def finalize(self, context: SiteContext) -> None:
        """Release what :meth:`initialize` acquired; called once, after the last task of the run."""

    def has(self, method: str) -> bool:
        """Return True if the class overrides a method."""
        return getattr(type(self), method) is not getattr(Statistics, method)


def _left_out() -> NoReturn:
    raise StatsError("Statistics computes nothing itself: leave the method out, and let initialize() set data")
