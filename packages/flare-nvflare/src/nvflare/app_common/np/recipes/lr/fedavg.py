"""Logistic regression by the Newton-Raphson method."""

from __future__ import annotations

import numpy as np

import flare_recipes_np
from nvflare._flare.layout import array_outputs
from nvflare._flare.native import averaging_job
from nvflare._flare.newton import NewtonRaphson
from nvflare.recipe.spec import Recipe


class FedAvgLrRecipe(Recipe):
    """Logistic regression; scripts send ``gradient`` and ``hessian``, and receive the weights, the intercept first.

    Args:
        damping_factor: the fraction of each step to take.
        num_features: the number of features, without the intercept.
    """

    def __init__(
        self,
        *,
        name: str = "lr_fedavg",
        min_clients: int,
        num_rounds: int = 2,
        damping_factor: float = 0.8,
        num_features: int = 13,
        initial_ckpt: str | None = None,
        train_script: str,
        train_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        model = None if initial_ckpt else np.zeros((num_features + 1, 1))
        aggregator = NewtonRaphson(damping_factor=damping_factor)
        more = {"aggregator": aggregator, "key_metric": None}
        super().__init__(averaging_job(flare_recipes_np.FedAvgRecipe, locals(), array_outputs(), **more))
