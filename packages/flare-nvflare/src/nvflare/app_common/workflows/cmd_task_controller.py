"""CmdTaskController: has all sites do one task."""

from __future__ import annotations

from typing import Any

from flare_core import FLModel
from nvflare.app_common.workflows.model_controller import ModelController


class CmdTaskController(ModelController):
    """Has all sites do one task.

    Args:
        task_name: the task.
        args, kwargs: of :class:`ModelController`.
    """

    def __init__(self, task_name: str = "cmd_task", *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("persistor_id", "")
        super().__init__(*args, **kwargs)
        self.task_name = task_name

    def run(self) -> None:
        """Give the task to all sites, and wait for them."""
        data = FLModel(params={"task_name": self.task_name}, meta={"status": "request"})
        self.send_task_and_wait(self.task_name, self.sample_clients(), data)

    def send_task_and_wait(self, task_name: str, targets: list[str], data: FLModel) -> list[FLModel]:
        """Give the task to sites, and return their answers."""
        return self.send_model_and_wait(task_name=task_name, targets=targets, data=data)
