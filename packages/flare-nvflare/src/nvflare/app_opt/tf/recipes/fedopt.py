"""An optimizer at the server, for Keras models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare import keras_models
from nvflare._flare.native import averaging_job
from nvflare._flare.schedule import KERAS, described_schedule
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.recipe.spec import Recipe


class FedOptRecipe(Recipe):
    """An optimizer at the server, for Keras models."""

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
        launch_external_process: bool = False,
        command: str = "python3 -u",
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        optimizer_args: Mapping[str, Any] | None = None,
        lr_scheduler_args: Mapping[str, Any] | None = None,
        server_memory_gc_rounds: int = 0,
        client_memory_gc_rounds: int = 0,
    ) -> None:
        rate = ((optimizer_args or {}).get("args") or {}).get("learning_rate", 0.01)
        schedule = described_schedule(lr_scheduler_args, KERAS, rate, num_rounds)
        given = locals()
        source, outputs = keras_models.source(given)
        super().__init__(
            averaging_job(keras_models.FedOptRecipe, {**given, **source, "lr_scheduler_args": schedule}, outputs)
        )
