"""HierarchicalStatisticsController, for statistics of groups of sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.app_common.workflows.statistics_controller import StatisticsController


class HierarchicalStatisticsController(StatisticsController):
    """Asks all sites for statistics, which are merged by groups as well.

    Args:
        hierarchy_config: the file with the groups, in the app's folder of configurations.
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
        hierarchy_config: str | None = None,
    ) -> None:
        super().__init__(statistic_configs, writer_id, min_clients=min_clients)
        self.hierarchy_config = hierarchy_config
