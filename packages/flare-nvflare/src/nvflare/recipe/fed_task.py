"""A task that sites do once, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core import RecipeError
from nvflare.app_common.workflows.cmd_task_controller import CmdTaskController
from nvflare.client.config import ExchangeFormat, TransferType
from nvflare.fuel.utils.constants import FrameworkType
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from nvflare.recipe.spec import Recipe


class FedTaskRecipe(Recipe):
    """A task that each site's script does once, such as preparing data; there is no global model.

    Args:
        task_name: the task.
        min_clients: the number of sites that must be there.
        num_clients: how many of them do the task, drawn at random; None for all.
        min_responses: how many answers are awaited; None for all.
        timeout: seconds after which no more are awaited; 0 for no limit.
        task_data: the params that scripts receive.
        task_meta: the meta data that they receive.
        task_script, task_args: the script and its arguments.
        launch_once, shutdown_timeout, client_memory_gc_rounds, cuda_empty_cache: without effect.
    Raises:
        RecipeError: a number cannot be one, or more answers are to be awaited than sites do the task.
    """

    def __init__(
        self,
        *,
        name: str = "fed_task",
        task_name: str = "task",
        min_clients: int,
        num_clients: int | None = None,
        min_responses: int | None = None,
        timeout: int = 0,
        task_data: Mapping[str, Any] | None = None,
        task_meta: Mapping[str, Any] | None = None,
        task_script: str,
        task_args: str = "",
        launch_external_process: bool = False,
        command: str = "python3 -u",
        framework: FrameworkType = FrameworkType.RAW,
        server_expected_format: ExchangeFormat = ExchangeFormat.RAW,
        params_transfer_type: TransferType = TransferType.FULL,
        launch_once: bool = True,
        shutdown_timeout: float = 0.0,
        client_memory_gc_rounds: int = 0,
        cuda_empty_cache: bool = False,
    ) -> None:
        for argument, value in (("num_clients", num_clients), ("min_responses", min_responses)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise RecipeError(f"{argument} is {value!r}; give an integer of at least 1, or None for all")
        if num_clients is not None and min_responses is not None and min_responses > num_clients:
            raise RecipeError(f"min_responses is {min_responses}, but num_clients is {num_clients}; await no more")
        job = FedJob(name=name, min_clients=min_clients)
        job.to_server(CmdTaskController(task_name, task_data, task_meta, num_clients, min_responses, timeout))
        runner = ScriptRunner(
            task_script,
            task_args,
            launch_external_process,
            command,
            framework,
            server_expected_format,
            params_transfer_type,
        )
        job.to_clients(runner, tasks=[task_name])
        super().__init__(job)
