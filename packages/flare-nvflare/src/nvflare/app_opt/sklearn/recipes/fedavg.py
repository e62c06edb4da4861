"""Federated averaging of scikit-learn's linear models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare import raw
from nvflare._flare.layout import joblib_outputs
from nvflare._flare.native import averaging_job
from nvflare.recipe.spec import Recipe


class SklearnFedAvgRecipe(Recipe):
    """Federated averaging of what scripts send, such as coefficients.

    Args:
        model_params: settings that scripts receive in the first round.
        model_path: a file of joblib's with such settings.
    """

    def __init__(
        self,
        *,
        name: str = "sklearn_fedavg",
        min_clients: int,
        num_rounds: int = 2,
        model_params: Mapping[str, Any] | None = None,
        model_path: str | None = None,
        train_script: str,
        train_args: str = "",
        aggregator: Any = None,
        aggregator_data_kind: Any = "WEIGHTS",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        key_metric: str = "accuracy",
        key_metric_mode: str = "max",
        launch_once: bool = True,
        launch_timeout: float | None = 300.0,
        shutdown_timeout: float = 0.0,
    ) -> None:
        start = raw.start(model_params, model_path)
        super().__init__(averaging_job(raw.RawFedAvgRecipe, locals(), joblib_outputs(), start=start))
