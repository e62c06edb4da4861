"""StatisticsPrivacyFilter, which names the limits for a site's statistics."""

from __future__ import annotations

from collections.abc import Sequence

from nvflare._flare.statistics import StatisticsPart


class StatisticsPrivacyFilter(StatisticsPart):
    """Names the limits for a site's statistics, which Flare's executor keeps.

    Args:
        result_cleanser_ids: the ids of the components that set them.
    """

    def __init__(self, result_cleanser_ids: Sequence[str]) -> None:
        super().__init__()
        self.result_cleanser_ids = list(result_cleanser_ids)
