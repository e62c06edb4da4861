"""Federated averaging of PyTorch models, with a proximal term."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.app_common.utils.fedprox_utils import FEDPROX_MU, validate_fedprox_mu
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import ExchangeFormat, TransferType


class FedProxRecipe(FedAvgRecipe):
    """Federated averaging, for scripts that add a proximal term to their loss.

    Args:
        fedprox_mu: the strength of the term, which scripts find in ``meta["fedprox_mu"]`` of the received model.
    Raises:
        RecipeError: it is not above 0.
    """

    def __init__(
        self,
        *,
        name: str = "fedprox",
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
        fedprox_mu: float = 0.01,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "fedprox_mu", "__class__")}
        super().__init__(**given)
        self.add_client_config({FEDPROX_MU: validate_fedprox_mu(fedprox_mu)})
