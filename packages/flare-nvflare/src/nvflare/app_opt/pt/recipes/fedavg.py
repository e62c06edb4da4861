"""Federated averaging of PyTorch models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_pt
from nvflare._flare.native import averaging_job
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.recipe.spec import Recipe


class FedAvgRecipe(Recipe):
    """Federated averaging of PyTorch models, with :class:`flare_recipes_pt.FedAvgRecipe`."""

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
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        model_persistor: Any = None,
        model_locator: Any = None,
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
        given = {**locals(), "initial_ckpt": checkpoint(initial_ckpt)}
        super().__init__(averaging_job(flare_recipes_pt.FedAvgRecipe, given, outputs(given)))
