"""Executor, which does tasks at a site."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal


class Executor(FLComponent, ABC):
    """Does tasks at a site. New code has a training script with the Client API, or derives from flare_core.Executor."""

    @abstractmethod
    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Do one task and return the reply."""

    def get_job_target_type(self) -> str:
        """Return where in a job this belongs."""
        return "client"

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        job.check_kwargs(args_to_check=kwargs, args_expected={"tasks": False})
        return job.add_executor(self, kwargs.get("tasks", ["*"]), ctx)
