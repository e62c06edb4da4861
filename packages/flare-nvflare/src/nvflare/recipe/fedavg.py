"""Federated averaging of models of any framework."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from flare_core.errors import RecipeError
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.recipe.spec import Recipe

_RECIPES = {
    FrameworkType.NUMPY: "nvflare.app_common.np.recipes.fedavg:NumpyFedAvgRecipe",
    FrameworkType.PYTORCH: "nvflare.app_opt.pt.recipes.fedavg:FedAvgRecipe",
    FrameworkType.RAW: "nvflare.app_common.np.recipes.fedavg:NumpyFedAvgRecipe",
    FrameworkType.TENSORFLOW: "nvflare.app_opt.tf.recipes.fedavg:FedAvgRecipe",
}


class FedAvgRecipe(Recipe):
    """Federated averaging, with the recipe of a framework.

    Args:
        framework: the framework.
    """

    def __init__(
        self,
        *,
        name: str = "fedavg",
        model: Any = None,
        initial_model: Any = None,
        initial_ckpt: str | None = None,
        min_clients: int,
        num_rounds: int = 2,
        train_script: str,
        train_args: str = "",
        aggregator: Any = None,
        aggregator_data_kind: Any = "WEIGHTS",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        framework: FrameworkType = FrameworkType.PYTORCH,
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        model_persistor: Any = None,
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        launch_once: bool = True,
        launch_timeout: float | None = 300.0,
        shutdown_timeout: float = 0.0,
        key_metric: str = "accuracy",
        key_metric_mode: str | None = None,
        stop_cond: str | None = None,
        patience: int | None = None,
        best_model_filename: str | None = None,
        save_filename: str | None = None,
        exclude_vars: str | None = None,
        aggregation_weights: Mapping[str, float] | None = None,
        server_memory_gc_rounds: int = 0,
        enable_tensor_disk_offload: bool = False,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        super().__init__(of_framework(_RECIPES, locals()).job)
        self.framework = framework


def of_framework(recipes: Mapping[FrameworkType, str], given: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a framework.

    Args:
        recipes: the class of each framework.
        given: the arguments, all of them; those that the framework's recipe lacks are dropped if they are None or
            say how NVIDIA FLARE's own parts work.
    Raises:
        RecipeError: there is no recipe for the framework.
    """
    try:
        module, _, name = recipes[FrameworkType(given["framework"])].partition(":")
    except (KeyError, ValueError):
        text = f"framework is {given['framework']!r}; use one of {', '.join(recipes)}"
        raise RecipeError(text) from None
    cls = getattr(importlib.import_module(module), name)
    known = cls.__init__.__kwdefaults__.keys() | {"min_clients", "train_script"}
    made: Recipe = cls(**{name: value for name, value in given.items() if name in known})
    return made
