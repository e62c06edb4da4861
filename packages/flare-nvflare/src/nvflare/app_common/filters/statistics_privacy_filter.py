"""StatisticsPrivacyFilter, which names the limits for a site's statistics."""

from __future__ import annotations

from collections.abc import Sequence

from flare_core import RecipeError
from nvflare._flare.statistics import StatisticsPart


class StatisticsPrivacyFilter(StatisticsPart):
    """Names the limits for a site's statistics, which Flare's executor keeps.

    Args:
        result_cleanser_ids: the ids of the components that set them.
    Raises:
        RecipeError: they are no list of ids.
    """

    def __init__(self, result_cleanser_ids: Sequence[str]) -> None:
        super().__init__()
        if isinstance(result_cleanser_ids, str) or not all(isinstance(each, str) for each in result_cleanser_ids):
            raise RecipeError(f"result_cleanser_ids is {result_cleanser_ids!r}; give a list of ids of components")
        self.result_cleanser_ids = list(result_cleanser_ids)
