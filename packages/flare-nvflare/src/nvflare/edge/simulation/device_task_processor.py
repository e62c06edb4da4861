"""DeviceTaskProcessor, the work of simulated devices; a task processor of flare-edge's."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_edge import EdgeError, TaskProcessor
from flare_edge.device.work import Answer, Task
from nvflare.apis.dxo import DXO, DataKind, from_dict
from nvflare.edge.simulation.simulated_device import SimulatedDevice
from nvflare.edge.web.models.job_response import JobResponse
from nvflare.edge.web.models.task_response import TaskResponse
from nvflare.fuel.utils.log_utils import get_obj_logger


class DeviceTaskProcessor(TaskProcessor):
    """Does the tasks of simulated devices, each of which has a copy. Flare's own is flare_edge.TaskProcessor."""

    def __init__(self) -> None:
        self.device: SimulatedDevice | None = None
        self.logger = get_obj_logger(self)

    @abstractmethod
    def setup(self, job: JobResponse) -> None:
        """Prepare a device for a job, before its first task."""

    @abstractmethod
    def shutdown(self) -> None:
        """Clean up after a job."""

    @abstractmethod
    def process_task(self, task: TaskResponse) -> dict[str, Any]:
        """Return the result of a task: a DXO as a dict, of the kind WEIGHT_DIFF.

        Args:
            task: ``task_data`` is a DXO of the kind WEIGHTS, as a dict; the weights are arrays by name.
        """

    def cancel(self) -> None:
        """Stop a task; Flare lets a device finish it."""
        return None

    @property
    def device_info(self) -> Any:
        """The description of the device."""
        return None if self.device is None else self.device.get_device_info()

    @property
    def user_info(self) -> Any:
        """The description of its user."""
        return None if self.device is None else self.device.get_user_info()

    @property
    def job_id(self) -> str | None:
        """The job."""
        return None if self.device is None else self.device.job_id

    @property
    def job_name(self) -> str | None:
        """The name of the job."""
        return None if self.device is None else self.device.job_name

    @property
    def job_method(self) -> str | None:
        """The kind of training."""
        return None if self.device is None else self.device.job_method

    @property
    def job_data(self) -> Mapping[str, Any] | None:
        """The configuration of the devices."""
        return None if self.device is None else self.device.job_data

    def start(self, job: Mapping[str, Any]) -> None:
        """Remember the job; Flare calls this."""
        self._job = JobResponse(
            "OK", job["name"], job["name"], str(job["config"].get("method", "edge")), dict(job["config"])
        )
        self._works: list[_DeviceWork] = []

    def stop(self) -> None:
        """Clean up after the devices that have worked; Flare calls this."""
        for each in self._works:
            each.stop()

    def work(self, number: int) -> _DeviceWork:
        """Return the work of one device, with a copy of this; Flare calls this."""
        own = copy.deepcopy(self, {id(self._works): []})  # without the works of other devices
        own.device = SimulatedDevice(f"device-{number}")
        self._works.append(_DeviceWork(own, self._job))
        return self._works[-1]


class _DeviceWork:
    """Gives tasks of Flare's to a processor."""

    def __init__(self, processor: DeviceTaskProcessor, job: JobResponse) -> None:
        self._processor = processor
        self._job = job
        self._is_ready = False

    def train(self, params: Mapping[str, Any], task: Task) -> Answer:
        dxo = self._result(params, task)
        values = dxo.data.get("dict", dxo.data)
        if dxo.data_kind != DataKind.WEIGHT_DIFF or not isinstance(values, Mapping):
            raise self._error(
                f"is of the kind {dxo.data_kind}; return a DXO of the kind WEIGHT_DIFF, with arrays by name"
            )
        if values.keys() != params.keys():
            raise self._error(f"has {sorted(values)}, but the model has {sorted(params)}; return all differences")
        update = {name: np.asarray(values[name], each.dtype) for name, each in params.items()}
        for name, each in update.items():
            if each.shape != params[name].shape:
                raise self._error(f"has {name!r} of the shape {each.shape}; that of the model is {params[name].shape}")
        return Answer(1, {}, update)

    def evaluate(self, params: Mapping[str, Any], task: Task) -> Answer:
        dxo = self._result(params, task)
        if dxo.data_kind != DataKind.METRICS:
            raise self._error(f"is of the kind {dxo.data_kind}; return a DXO of the kind METRICS for 'evaluate'")
        return Answer(1, dxo.data)

    def stop(self) -> None:
        if self._is_ready:
            self._processor.shutdown()

    def _result(self, params: Mapping[str, Any], task: Task) -> DXO:
        self._prepare()
        version = {"model_version": task.version}
        data = DXO(DataKind.WEIGHTS, dict(params), dict(version)).to_dict()
        result = self._processor.process_task(
            TaskResponse("OK", self._job.job_id, None, str(task.ticket), task.kind, data, version)
        )
        if not isinstance(result, Mapping):
            raise self._error(f"is a {type(result).__name__}; return dxo.to_dict()")
        return from_dict(dict(result))

    def _prepare(self) -> None:
        if self._is_ready:
            return
        job, device = self._job, self._processor.device
        assert device is not None
        device.set_job(job.job_id, job.job_name, job.method, job.job_data)
        self._processor.setup(job)
        self._is_ready = True

    def _error(self, text: str) -> EdgeError:
        device = self._processor.device
        name = f"{type(self._processor).__name__}.process_task"
        return EdgeError(f"{device and device.device_id}: the result of {name} {text}")
