"""A server's decisions and one gateway in one process, for tests of devices."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_edge.fedbuff import FedBuff, FedBuffSettings, combined
from flare_edge.gateway.gateway import Closed, Gateway

Params = Mapping[str, np.ndarray]


class Root:
    """Makes versions of what a gateway's devices send, in a thread, until the last; a context manager."""

    def __init__(self, gateway: Gateway, params: Params, settings: FedBuffSettings, *, devices: int = 1) -> None:
        self.gateway = gateway
        self.settings = settings
        self.versions: list[dict[str, np.ndarray]] = [dict(params)]
        self.reports: list[Any] = []
        self.metrics: dict[int, dict[str, float]] = {}  # weighted means over the devices that received a version
        self.is_over = threading.Event()
        self.failure: Exception | None = None
        self._devices = devices
        self._machine = FedBuff(settings, seed=0)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Root:
        self.gateway.set_model(0, self.versions[0])
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.gateway.close()
        self._thread.join(20)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self.is_over.is_set():
                self._hear(self.gateway.next_report())
        except Closed:
            return
        except Exception as error:
            self.failure = error
            self.is_over.set()

    def _hear(self, report: Any) -> None:
        self.reports.append(report)
        name, machine = self.gateway.name, self._machine
        if report.joined:
            machine.join(name, report.joined)
        if report.left:
            machine.leave(name, report.left)
        if report.batch is not None:
            machine.merge(report.batch)
            for version, each in report.batch.sums.items():
                self.metrics[version] = {key: total / weight for key, (total, weight) in each.metrics.items()}
        if machine.joined < self._devices and len(self.versions) == 1:
            return
        decided = machine.decide()
        while decided.version is not None or decided.orders or decided.withdrawn:
            if decided.version is not None:
                made = combined(decided.version, self.settings.models.scale, self.versions[-1], 1.0)
                self.versions.append(made)
                self.gateway.set_model(len(self.versions) - 1, made)
            self.gateway.withdraw(decided.withdrawn)
            self.gateway.give(decided.orders)
            if decided.is_over:
                break
            decided = machine.decide()
        if report.batch is not None:
            self.gateway.acknowledge(report.number)
        if decided.is_over:
            self.gateway.finish()
            self.is_over.set()
