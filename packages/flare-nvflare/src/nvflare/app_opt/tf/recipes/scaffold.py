"""SCAFFOLD with Keras models."""

from __future__ import annotations

from typing import Any

from nvflare._flare import keras_models
from nvflare._flare.native import averaging_job
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.recipe.spec import Recipe


class ScaffoldRecipe(Recipe):
    """SCAFFOLD with Keras models."""

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
    ) -> None:
        given = locals()
        source, outputs = keras_models.source(given)
        super().__init__(averaging_job(keras_models.ScaffoldRecipe, {**given, **source}, outputs))
