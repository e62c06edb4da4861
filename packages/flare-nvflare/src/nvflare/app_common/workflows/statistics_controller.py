"""StatisticsController, which a job becomes a recipe of flare_stats by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare.statistics import StatisticsWorkflow


class StatisticsController(StatisticsWorkflow):
    """Asks all sites for statistics, with :class:`flare_stats.FedStatsRecipe`.

    Args:
        statistic_configs: what to compute, such as ``{"count": {}, "histogram": {"*": {"bins": 20}}}``.
        writer_id: the id of the component that names the file of the results.
        min_clients: how many sites must answer.
        wait_time_after_min_received, result_wait_timeout: without effect, as all sites are waited for.
        precision: without effect; numbers are not rounded.
        enable_pre_run_task: without effect.
    """

    def __init__(
        self,
        statistic_configs: Mapping[str, Any],
        writer_id: str,
        wait_time_after_min_received: int = 1,
        result_wait_timeout: int = 10,
        precision: int = 4,
        min_clients: int | None = None,
        enable_pre_run_task: bool = True,
    ) -> None:
        super().__init__()
        self.statistic_configs = dict(statistic_configs)
        self.writer_id = writer_id
        self.min_clients = min_clients
