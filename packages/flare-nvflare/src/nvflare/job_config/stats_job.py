"""StatsJob, statistics of the data of many sites as a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nvflare.job_config.api import FedJob
from nvflare.recipe.fedstats import FedStatsRecipe


class StatsJob(FedJob):
    """Statistics of the data of many sites; arguments as for :class:`nvflare.recipe.fedstats.FedStatsRecipe`."""

    def __init__(
        self,
        name: str,
        statistic_configs: Mapping[str, Any],
        stats_generator: Any,
        output_path: str,
        min_count: int = 10,
        min_noise_level: float = 0.1,
        max_noise_level: float = 0.3,
        max_bins_percent: float = 10,
    ) -> None:
        super().__init__(name)
        self._given = {
            "name": name,
            "stats_output_path": output_path,
            "statistic_configs": statistic_configs,
            "stats_generator": stats_generator,
            "min_count": min_count,
            "min_noise_level": min_noise_level,
            "max_noise_level": max_noise_level,
            "max_bins_percent": max_bins_percent,
        }

    def setup_clients(self, sites: Sequence[str]) -> None:
        """Name the sites that take part."""
        self.native = FedStatsRecipe(sites=sites, **self._given).job.native
        self.clients = list(sites)
