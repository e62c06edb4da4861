"""MinCountCleanser, a limit for statistics."""

import math

from nvflare._flare.statistics import StatisticsPart


class MinCountCleanser(StatisticsPart):
    """Withholds statistics of few values.

    Args:
        min_count: the least number of values.
    """

    limits = ("min_count",)

    def __init__(self, min_count: float) -> None:
        super().__init__()
        self.min_count = math.ceil(min_count)  # not below what is asked for
