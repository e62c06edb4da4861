"""ETLController: has all sites prepare their data."""

from __future__ import annotations

from typing import Any

from nvflare.app_common.workflows.cmd_task_controller import CmdTaskController


class ETLController(CmdTaskController):
    """Has all sites prepare their data; arguments as for :class:`CmdTaskController`."""

    def __init__(self, task_name: str = "etl", *args: Any, **kwargs: Any) -> None:
        super().__init__(task_name, *args, **kwargs)
