"""Parts of jobs by which NVIDIA FLARE starts and reaches scripts; see :mod:`nvflare._host.scripts`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from nvflare.apis.fl_component import FLComponent


class ScriptPart(FLComponent):
    """Keeps its arguments, with which a job describes it.

    Args:
        arguments: by name.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.__dict__.update(arguments)
        text = f"{type(self).__name__} is deprecated; ScriptRunner runs a script"
        warnings.warn(text, DeprecationWarning, stacklevel=3)

    def get_job_target_type(self) -> str:
        """Return where in a job this belongs."""
        return "client"

    def add_to_fed_job(self, job: Any, ctx: Any, **kwargs: Any) -> Any:
        """Add this to the app of a job that ``ctx`` stands for."""
        if type(self).__name__.endswith("Executor"):
            return job.add_executor(self, kwargs.get("tasks", ["*"]), ctx)
        return job.add_component(None, self, ctx)
