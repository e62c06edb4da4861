"""Federated averaging of PyTorch models, with an optimizer at the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_pt
from nvflare._flare.native import averaging_job
from nvflare._flare.schedule import TORCH, described_schedule
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.recipe.spec import Recipe


class FedOptRecipe(Recipe):
    """An optimizer at the server, with :class:`flare_recipes_pt.FedOptRecipe`.

    Args:
        optimizer_args: an optimizer of :mod:`torch.optim`, as ``{"class_path" or "path": …, "args": {…}}``.
        lr_scheduler_args: a scheduler of :mod:`torch.optim.lr_scheduler` in the same form; ``"{num_rounds}"`` among its
            arguments stands for the number of rounds.
    """

    def __init__(
        self,
        *,
        name: str = "fedopt",
        model: Any = None,
        initial_model: Any = None,
        initial_ckpt: str | None = None,
        min_clients: int,
        num_rounds: int = 2,
        train_script: str,
        train_args: str = "",
        aggregator: Any = None,
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        device: str | None = None,
        source_model: str = "model",
        optimizer_args: Mapping[str, Any] | None = None,
        lr_scheduler_args: Mapping[str, Any] | None = None,
        server_memory_gc_rounds: int = 1,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
        enable_tensor_disk_offload: bool = False,
    ) -> None:
        optimizer = dict(optimizer_args or {"class_path": "torch.optim.SGD", "args": {"lr": 1.0}})
        rate = (optimizer.get("args") or {}).get("lr", 1.0)
        given = {
            **locals(),
            "initial_ckpt": checkpoint(initial_ckpt),
            "params_transfer_type": TransferType.DIFF,
            "optimizer_args": optimizer,
            "lr_scheduler_args": described_schedule(lr_scheduler_args, TORCH, rate, num_rounds),
        }
        super().__init__(averaging_job(flare_recipes_pt.FedOptRecipe, given, outputs(given)))
