"""XGBFedController, which a FedJob becomes a recipe of flare_xgb by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core import RecipeError
from nvflare._flare.trees import TreeController


class XGBFedController(TreeController):
    """Grows trees from the rows or the columns of all sites, with the recipes of :mod:`flare_xgb`.

    Args:
        num_rounds: the number of trees.
        data_split_mode: 0 for sites with rows, 1 for sites with columns, of which the one of rank 0 has the labels.
        secure_training: hide what the sites send.
        xgb_params: parameters of XGBoost.
        xgb_options: ``early_stopping_rounds``; ``use_gpus`` is without effect.
        client_ranks: by site; otherwise in the order of the names.
        disable_version_check, in_process: without effect, as are the times and the names of tasks.
    Raises:
        RecipeError: ``data_split_mode`` is neither 0 nor 1, or ``client_ranks`` are not numbers from 0 by site.
    """

    def __init__(
        self,
        num_rounds: int,
        data_split_mode: int,
        secure_training: bool,
        xgb_params: dict[str, Any],
        xgb_options: Mapping[str, Any] | None = None,
        disable_version_check: bool = False,
        configure_task_name: str = "config",
        configure_task_timeout: float = 60,
        start_task_name: str = "start",
        start_task_timeout: float = 10,
        job_status_check_interval: float = 2.0,
        max_client_op_interval: float = 600.0,
        progress_timeout: float = 3600.0,
        client_ranks: Mapping[str, int] | None = None,
        in_process: bool = True,
    ) -> None:
        super().__init__()
        if data_split_mode not in (0, 1):
            raise RecipeError(f"data_split_mode is {data_split_mode!r}; write 0 for rows, or 1 for columns")
        if client_ranks is not None:
            _check_ranks(client_ranks)
        self.num_rounds = num_rounds
        self.data_split_mode = data_split_mode
        self.secure_training = secure_training
        self.xgb_params = xgb_params
        self.xgb_options = dict(xgb_options or {})
        self.client_ranks = client_ranks


def _check_ranks(ranks: Any) -> None:
    is_right = isinstance(ranks, Mapping) and all(type(each) is int for each in ranks.values())
    if not is_right or sorted(ranks.values()) != list(range(len(ranks))):
        raise RecipeError(f"client_ranks is {ranks!r}; give each site another number, from 0 on")
