"""Federated averaging of Keras models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare import keras_models
from nvflare._flare.native import averaging_job
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.recipe.spec import Recipe


class FedAvgRecipe(Recipe):
    """Federated averaging of Keras models."""

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
        framework: FrameworkType = FrameworkType.TENSORFLOW,
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        model_persistor: Any = None,
        per_site_config: Mapping[str, Mapping[str, Any]] | None = None,
        launch_once: bool = True,
        launch_timeout: float | None = 300.0,
        shutdown_timeout: float = 0.0,
        key_metric: str = "accuracy",
        key_metric_mode: str = "max",
        best_model_filename: str | None = None,
        save_filename: str | None = None,
        server_memory_gc_rounds: int = 0,
        client_memory_gc_rounds: int = 0,
    ) -> None:
        given = locals()
        source, outputs = keras_models.source(given)
        super().__init__(averaging_job(keras_models.FedAvgRecipe, {**given, **source}, outputs))
