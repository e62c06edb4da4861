"""Training of Keras models at one site after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare._flare import keras_models
from nvflare._flare.native import native_job
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.recipe.spec import Recipe


class CyclicRecipe(Recipe):
    """Training of Keras models at one site after the other."""

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
        framework: FrameworkType = FrameworkType.TENSORFLOW,
        server_expected_format: ExchangeFormat = ExchangeFormat.NUMPY,
        params_transfer_type: TransferType = TransferType.FULL,
        server_memory_gc_rounds: int = 1,
        client_memory_gc_rounds: int = 0,
        task_assignment_timeout: int = 10,
        shutdown_timeout: float = 0.0,
        server_config_overrides: Mapping[str, Any] | None = None,
        client_config_overrides: Mapping[str, Any] | None = None,
    ) -> None:
        given = locals()
        source, outputs = keras_models.source(given)
        super().__init__(native_job(keras_models.CyclicRecipe, {**given, **source}, outputs))
