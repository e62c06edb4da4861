"""Statistics of the data of many sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flare_stats
from nvflare._flare.layout import Outputs
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe


class FedStatsRecipe(Recipe):
    """Statistics of the data of many sites, with :class:`flare_stats.FedStatsRecipe`.

    Args:
        stats_output_path: the file of the results, in the server's folder of the run.
        sites: the sites that take part.
        statistic_configs: what to compute, such as ``{"count": {}, "histogram": {"*": {"bins": 20}}}``.
        stats_generator: reads the data at each site.
        min_count, min_noise_level, max_noise_level, max_bins_percent: what the sites allow; their owners may want more.
    """

    def __init__(
        self,
        name: str,
        stats_output_path: str,
        sites: Sequence[str],
        statistic_configs: Mapping[str, Any],
        stats_generator: Any,
        min_count: int = 10,
        min_noise_level: float = 0.1,
        max_noise_level: float = 0.3,
        max_bins_percent: float = 10,
    ) -> None:
        recipe = flare_stats.FedStatsRecipe(
            name=name,
            stats_output_path=stats_output_path,
            sites=sites,
            statistic_configs=statistic_configs,
            stats_generator=stats_generator,
            min_count=min_count,
            min_noise_level=min_noise_level,
            max_noise_level=max_noise_level,
            max_bins_percent=max_bins_percent,
        )
        super().__init__(FedJob.of(recipe, Outputs()))
