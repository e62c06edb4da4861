"""CmdTaskController: has sites do one task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_core import FLModel
from nvflare.app_common.workflows.model_controller import ModelController


class CmdTaskController(ModelController):
    """Has sites do one task.

    Args:
        task_name: the task.
        task_data: the params that the sites receive; by default the name of the task.
        task_meta: the meta data that they receive.
        num_clients: how many sites do it, drawn at random; None for all.
        min_responses: how many answers are awaited; None for all.
        timeout: seconds after which no more are awaited; 0 for no limit.
        args, kwargs: of :class:`ModelController`.
    """

    def __init__(
        self,
        task_name: str = "cmd_task",
        task_data: Mapping[str, Any] | None = None,
        task_meta: Mapping[str, Any] | None = None,
        num_clients: int | None = None,
        min_responses: int | None = None,
        timeout: int = 0,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("persistor_id", "")
        super().__init__(*args, **kwargs)
        self.task_name = task_name
        self.task_data = task_data
        self.task_meta = task_meta
        self.num_clients = num_clients
        self.min_responses = min_responses
        self.timeout = timeout

    def run(self) -> None:
        """Give the task to the sites, and wait for them.

        Raises:
            ValueError: more answers are to be awaited than there are sites.
        """
        params = {"task_name": self.task_name} if self.task_data is None else dict(self.task_data)
        meta = {"status": "request"} if self.task_meta is None else dict(self.task_meta)
        sites = self.sample_clients(self.num_clients)
        if self.min_responses is not None and self.min_responses > len(sites):
            raise ValueError(
                f"min_responses is {self.min_responses}, but {len(sites)} sites get the task {self.task_name!r}; give"
                " a smaller number"
            )
        data = FLModel(params=params, meta=meta, current_round=0, total_rounds=1)
        self.send_task_and_wait(self.task_name, sites, data, self.min_responses, self.timeout)

    def send_task_and_wait(
        self,
        task_name: str,
        targets: list[str],
        data: FLModel,
        min_responses: int | None = None,
        timeout: int = 0,
    ) -> list[FLModel]:
        """Give the task to sites, and return their answers."""
        return self.send_model_and_wait(
            task_name=task_name, targets=targets, data=data, min_responses=min_responses, timeout=timeout
        )
