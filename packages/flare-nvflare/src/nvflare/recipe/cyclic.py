"""Training of a model at one site after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_np
from nvflare._flare.layout import array_outputs
from nvflare._flare.native import native_job
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.recipe.fedavg import of_framework
from nvflare.recipe.spec import Recipe

_RECIPES = {
    FrameworkType.PYTORCH: "nvflare.app_opt.pt.recipes.cyclic:CyclicRecipe",
    FrameworkType.TENSORFLOW: "nvflare.app_opt.tf.recipes.cyclic:CyclicRecipe",
}


class CyclicRecipe(Recipe):
    """Training at one site after the other, with the recipe of a framework.

    Args:
        framework: the framework.
    """

    def __init__(
        self,
        *,
        name: str = "cyclic",
        model: Any = None,
        initial_model: Any = None,
        initial_ckpt: str | None = None,
        num_rounds: int = 2,
        min_clients: int = 2,
        train_script: str,
        train_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        framework: FrameworkType = FrameworkType.NUMPY,
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        server_memory_gc_rounds: int = 1,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
        task_assignment_timeout: int = 10,
        shutdown_timeout: float = 0.0,
        server_config_overrides: Mapping[str, Any] | None = None,
        client_config_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        if framework in (FrameworkType.NUMPY, FrameworkType.RAW):
            super().__init__(native_job(flare_recipes_np.CyclicRecipe, locals(), array_outputs()))
        else:
            super().__init__(of_framework(_RECIPES, locals()).job)
        self.framework = framework
