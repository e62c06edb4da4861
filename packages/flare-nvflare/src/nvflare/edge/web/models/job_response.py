"""JobResponse, the news of a job for a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.edge.web.models.base_model import BaseModel


class JobResponse(BaseModel):
    """The news of a job for a device.

    Args:
        status: ``OK``.
        job_id, job_name: the job.
        method: the kind of training.
        job_data: the configuration of the devices.
        retry_wait: seconds after which to ask again.
        kwargs: further fields.
    """

    def __init__(
        self,
        status: str,
        job_id: str | None = None,
        job_name: str | None = None,
        method: str | None = None,
        job_data: Mapping[str, Any] | None = None,
        retry_wait: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__({key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")})
        self.update(kwargs)
