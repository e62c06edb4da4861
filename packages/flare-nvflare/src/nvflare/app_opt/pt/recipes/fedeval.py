"""Evaluation of a PyTorch model at every site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_pt
from nvflare._flare.native import native_job
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.client.config import ExchangeFormat
from nvflare.recipe.spec import Recipe


class FedEvalRecipe(Recipe):
    """Evaluation of a model at every site, with :class:`flare_recipes_pt.FedEvalRecipe`."""

    def __init__(
        self,
        *,
        name: str = "eval",
        model: Any,
        eval_ckpt: str,
        min_clients: int,
        eval_script: str,
        eval_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        validation_timeout: int = 6000,
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        given = {
            **locals(),
            "initial_ckpt": checkpoint(eval_ckpt),
            "train_script": eval_script,
            "train_args": eval_args,
        }
        super().__init__(native_job(flare_recipes_pt.FedEvalRecipe, given, outputs(given)))
