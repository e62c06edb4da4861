"""Federated k-means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare import raw
from nvflare._flare.layout import joblib_outputs
from nvflare._flare.native import averaging_job
from nvflare._flare.sklearn_models import Centers
from nvflare.recipe.spec import Recipe


class KMeansFedAvgRecipe(Recipe):
    """Federated mini-batch k-means; scripts send ``center`` and ``count``."""

    def __init__(
        self,
        *,
        name: str = "kmeans_fedavg",
        min_clients: int,
        num_rounds: int = 5,
        n_clusters: int = 3,
        model_path: str | None = None,
        train_script: str,
        train_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        key_metric: str = "metrics",
        key_metric_mode: str = "max",
    ) -> None:
        start = raw.start({"n_clusters": n_clusters}, model_path)
        aggregator = Centers(n_clusters=n_clusters)
        super().__init__(
            averaging_job(raw.RawFedAvgRecipe, locals(), joblib_outputs(), start=start, aggregator=aggregator)
        )
