"""Simulated devices in the process of a gateway, which call it directly, without HTTP.

They go through the same checks as results that come over HTTP. :mod:`flare_edge.fleet` simulates devices that connect.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from flare_edge.device.safetensors import dumps
from flare_edge.device.work import Answer, Work, filtered
from flare_edge.errors import EdgeError
from flare_edge.gateway.gateway import Closed, Gateway
from flare_edge.gateway.results import Over, Refused, Result, json_result, train_result
from flare_edge.messages import Order


class TaskProcessor(ABC):
    """The work of simulated devices, for :class:`~flare_edge.SimulationConfig`."""

    def start(self, job: Mapping[str, Any]) -> None:  # noqa: B027  # to be overridden, if there is something to prepare
        """Prepare for a run, before the work of its devices is asked for.

        Args:
            job: what devices are told about it: ``name``, ``description`` and ``config``.
        """

    def stop(self) -> None:  # noqa: B027
        """Clean up after a run, when no device works any more."""

    @abstractmethod
    def work(self, number: int) -> Work:
        """Return the work of one device, which may be called on several threads.

        Args:
            number: of the device; counts the simulated devices of all gateways from 0.
        """


@dataclass(frozen=True)
class _Task:
    ticket: int
    kind: str
    version: int
    config: Mapping[str, Any]


class SimulatedDevices:
    """Devices of one gateway, which all take part from the beginning to the end.

    Args:
        gateway: the gateway, which has started.
        processor: has the devices' work.
        first: the number of the first device.
        num_devices: number of devices.
        num_workers: number of devices that work at the same time.
    """

    def __init__(
        self, gateway: Gateway, processor: TaskProcessor, first: int, num_devices: int, num_workers: int
    ) -> None:
        self._gateway = gateway
        self._processor = processor
        processor.start(gateway.job)
        numbers = range(first, first + num_devices)
        self._works = {f"{gateway.name}/simulated-{number}": processor.work(number) for number in numbers}
        self._pool = ThreadPoolExecutor(num_workers, thread_name_prefix="flare-edge-device")
        self._fail: Callable[[BaseException], None]
        self._has_stopped = threading.Event()

    @classmethod
    def of(cls, simulation: Mapping[str, Any], gateway: Gateway, index: int) -> SimulatedDevices:
        """Return the devices of the gateway with an index among all gateways.

        Args:
            simulation: ``task_processor``, ``num_devices`` and ``num_workers``.
            gateway: the gateway.
            index: counts the gateways from 0.
        Raises:
            EdgeError: the task processor is no :class:`TaskProcessor`.
        """
        processor = simulation["task_processor"]
        if not isinstance(processor, TaskProcessor):
            kind = type(processor).__name__
            raise EdgeError(f"task_processor is a {kind}; derive its class from flare_edge.TaskProcessor")
        number = int(simulation["num_devices"])
        return cls(gateway, processor, index * number, number, int(simulation["num_workers"]))

    def start(self, fail: Callable[[BaseException], None]) -> None:
        """Let all devices check in.

        Args:
            fail: called with the error of a device's work.
        """
        self._fail = fail
        for device in self._works:
            self._soon(device)

    def stop(self) -> None:
        """Wait for the devices that work; the gateway was closed, so they find no further order."""
        self._has_stopped.set()
        self._pool.shutdown(cancel_futures=True)
        self._processor.stop()

    def _soon(self, device: str) -> None:
        if not self._has_stopped.is_set():
            with suppress(RuntimeError):  # the pool was shut down just now
                self._pool.submit(self._check_in, device)

    def _check_in(self, device: str) -> None:
        """Do a device's open order, if it has one, and ask for the next."""
        try:
            while (order := self._gateway.poll(device, lambda: self._soon(device))) is not None:
                self._do(device, order)
        except (Over, Closed):
            return
        except Refused as refusal:
            if refusal.status < 500:  # else the gateway closes, or has failed and says so itself
                self._fail(refusal)
        except Exception as error:
            self._fail(error)

    def _do(self, device: str, order: Order) -> None:
        try:
            self._report(device, order, self._work(device, order))
        except Refused as refusal:
            if isinstance(refusal, Over) or refusal.status >= 500:
                raise
            if refusal.status != 404:  # else the order was withdrawn meanwhile
                raise EdgeError(f"{device} was refused: {refusal}") from refusal

    def _work(self, device: str, order: Order) -> Result:
        gateway = self._gateway
        try:
            params = gateway.model(order.version).params
        except Refused as refusal:  # the version is not kept any more; other devices report that, too
            return json_result(json.dumps({"error": str(refusal)}).encode())
        task = _Task(order.ticket, order.kind, order.version, gateway.config)
        work = self._works[device]
        answer = work.train(params, task) if order.kind == "train" else work.evaluate(params, task)
        return self._result(filtered(answer, task, ()))

    def _report(self, device: str, order: Order, result: Result) -> None:
        """Report a result; return when the gateway has accepted it."""
        self._gateway.report(device, order.ticket, result).result()

    def _result(self, answer: Answer) -> Result:
        if answer.update is None:
            values = {"num_examples": answer.num_examples, "metrics": dict(answer.metrics)}
            return json_result(json.dumps(values).encode())
        metadata = {"num_examples": str(answer.num_examples), "metrics": json.dumps(dict(answer.metrics))}
        return train_result(dumps(answer.update, metadata), self._gateway.like, self._gateway.scale)
