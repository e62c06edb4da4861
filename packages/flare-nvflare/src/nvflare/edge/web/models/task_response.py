"""TaskResponse: a task of a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.edge.web.models.base_model import BaseModel


class TaskResponse(BaseModel):
    """A task of a device.

    Args:
        status: ``OK``.
        job_id: the job.
        retry_wait: seconds after which to ask again.
        task_id, task_name: the task.
        task_data: a DXO as a dict, with the model.
        cookie: what the server wants back with the result.
        kwargs: further fields.
    """

    def __init__(
        self,
        status: str,
        job_id: str | None = None,
        retry_wait: int | None = None,
        task_id: str | None = None,
        task_name: str | None = None,
        task_data: Mapping[str, Any] | None = None,
        cookie: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__({key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")})
        self.update(kwargs)
