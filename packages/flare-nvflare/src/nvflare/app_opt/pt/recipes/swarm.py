"""Swarm learning of PyTorch models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flare_recipes_pt
from flare_core.errors import RecipeError
from nvflare._flare.layout import of_a_swarm
from nvflare._flare.native import averaging_job
from nvflare._flare.torch_models import checkpoint, outputs
from nvflare.client.config import ExchangeFormat
from nvflare.recipe.spec import Recipe
from nvflare.recipe.utils import add_cross_site_evaluation


class SwarmLearningRecipe(Recipe):
    """Swarm learning, with :class:`flare_recipes_pt.SwarmLearningRecipe`.

    Args:
        do_cross_site_eval: evaluate the models at all sites after the training; they go from site to site.
        train_args: settings of the script's runner, of which ``script_args`` is the script's command line.
    Raises:
        RecipeError: ``train_args`` is no dict.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        num_rounds: int,
        train_script: str,
        min_clients: int,
        initial_ckpt: str | None = None,
        train_args: Mapping[str, Any] | None = None,
        do_cross_site_eval: bool = False,
        cross_site_eval_timeout: float = 300,
        launch_external_process: bool = False,
        command: str = "python3 -u",
        memory_gc_rounds: int = 1,
        cuda_empty_cache: bool = False,
        expected_data_kind: Any = "WEIGHTS",
        params_transfer_type: str = "FULL",
        start_task_timeout: float = 300,
        progress_timeout: float = 3600,
        max_status_report_interval: float = 300,
        round_timeout: float = 3600,
        pipe_type: str = "cell_pipe",
        pipe_root_path: str | None = None,
        *,
        learn_task_timeout: float | None = None,
        max_concurrent_submissions: int = 1,
        learn_task_abort_timeout: float | None = None,
        learn_task_ack_timeout: float | None = None,
        final_result_ack_timeout: float | None = None,
        server_config_overrides: Mapping[str, Any] | None = None,
        client_config_overrides: Mapping[str, Any] | None = None,
        aggregation_format: ExchangeFormat = ExchangeFormat.NUMPY,
        enable_tensor_disk_offload: bool = False,
        key_metric: str = "accuracy",
        key_metric_mode: str = "max",
        initial_model: Any = None,
    ) -> None:
        if train_args is not None and not isinstance(train_args, Mapping):
            raise RecipeError(f"train_args is {train_args!r}; give a dict such as {{'script_args': '--epochs 1'}}")
        given = {
            **locals(),
            "initial_ckpt": checkpoint(initial_ckpt),
            "train_args": (train_args or {}).get("script_args", ""),
        }
        more = {"clients_per_round": None}
        names = of_a_swarm(outputs(given))
        super().__init__(averaging_job(flare_recipes_pt.SwarmLearningRecipe, given, names, **more))
        if do_cross_site_eval:
            add_cross_site_evaluation(self)
