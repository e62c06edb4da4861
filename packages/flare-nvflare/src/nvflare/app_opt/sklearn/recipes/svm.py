"""Federated support vector machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core.errors import RecipeError
from nvflare._flare import raw
from nvflare._flare.layout import joblib_outputs
from nvflare._flare.native import averaging_job
from nvflare._flare.sklearn_models import KERNELS, FirstSupportVectors
from nvflare.recipe.spec import Recipe


class SVMFedAvgRecipe(Recipe):
    """A machine trained on the support vectors of all sites; scripts send ``support_x`` and ``support_y``.

    Args:
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
    Raises:
        RecipeError: the kernel is unknown.
    """

    def __init__(
        self,
        *,
        name: str = "svm_fedavg",
        min_clients: int,
        kernel: str = "rbf",
        model_path: str | None = None,
        train_script: str,
        train_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        key_metric: str = "AUC",
        key_metric_mode: str = "max",
    ) -> None:
        if kernel not in KERNELS:
            raise RecipeError(f"kernel is {kernel!r}; choose one of {', '.join(KERNELS)}")
        start = raw.start({"kernel": kernel}, model_path)
        aggregator, num_rounds = FirstSupportVectors(kernel=kernel), 2
        super().__init__(
            averaging_job(raw.RawFedAvgRecipe, locals(), joblib_outputs(), start=start, aggregator=aggregator)
        )
