"""HistogramBinsCleanser, a limit for statistics."""

from nvflare._flare.statistics import StatisticsPart


class HistogramBinsCleanser(StatisticsPart):
    """Withholds histograms of too many bins.

    Args:
        max_bins_percent: the most bins, in percent of the number of values.
    """

    limits = ("max_bins_percent",)

    def __init__(self, max_bins_percent: float) -> None:
        super().__init__()
        self.max_bins_percent = max_bins_percent
