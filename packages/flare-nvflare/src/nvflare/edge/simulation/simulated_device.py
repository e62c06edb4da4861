"""SimulatedDevice: the device that a task processor works for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvflare.edge.web.models.base_model import BaseModel


class SimulatedDevice:
    """A simulated device.

    Args:
        device_id: its name.
    """

    def __init__(self, device_id: str) -> None:
        self.device_id = device_id
        self.job_id: str | None = None
        self.job_name: str | None = None
        self.job_method: str | None = None
        self.job_data: Mapping[str, Any] | None = None

    def get_device_info(self) -> BaseModel:
        """Return a description of the device."""
        return BaseModel(device_id=self.device_id, app_name="flare", app_version="1.0", platform="flare")

    def get_user_info(self) -> BaseModel:
        """Return a description of its user."""
        return BaseModel(user_id=self.device_id)

    def get_job_id(self) -> str | None:
        """Return the job."""
        return self.job_id

    def set_job(self, job_id: str, job_name: str, method: str, job_data: Mapping[str, Any]) -> None:
        """Set the job."""
        self.job_id, self.job_name, self.job_method, self.job_data = job_id, job_name, method, job_data
