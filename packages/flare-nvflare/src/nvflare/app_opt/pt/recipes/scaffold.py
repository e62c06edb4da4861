"""SCAFFOLD with PyTorch models."""

from __future__ import annotations

from typing import Any

import flare_recipes_pt
from nvflare._flare.native import averaging_job
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.recipe.spec import Recipe


class ScaffoldRecipe(Recipe):
    """SCAFFOLD, with :class:`flare_recipes_pt.ScaffoldRecipe`."""

    def __init__(
        self,
        *,
        name: str = "scaffold",
        model: Any = None,
        initial_model: Any = None,
        initial_ckpt: str | None = None,
        min_clients: int,
        num_rounds: int = 2,
        train_script: str,
        train_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        server_memory_gc_rounds: int = 0,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
        enable_tensor_disk_offload: bool = False,
    ) -> None:
        given = {**locals(), "initial_ckpt": checkpoint(initial_ckpt)}
        super().__init__(averaging_job(flare_recipes_pt.ScaffoldRecipe, given, outputs(given)))
