"""A run with one gateway, all in this process: to try devices, and to measure a gateway."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from flare_edge.fedbuff import FedBuff, FedBuffSettings, combined
from flare_edge.gateway.gateway import Closed, Gateway


class LocalRun(threading.Thread):
    """The part of a server, for a single gateway and without keeping anything: versions, orders, acknowledgements.

    It ends when its last version is made, of which the gateway then tells its devices, or when the gateway is closed.

    Args:
        gateway: that of all devices.
        settings: of the run.
        params: of version 0.

    Attributes:
        counts: versions, and tickets that are done or failed.
        params: of the newest version.
    """

    def __init__(self, gateway: Gateway, settings: FedBuffSettings, params: Mapping[str, np.ndarray[Any, Any]]) -> None:
        super().__init__(name="edge-local-run")
        self.counts: Counter[str] = Counter()
        self.params = dict(params)
        self._gateway = gateway
        self._fedbuff = FedBuff(settings, seed=0)
        self._models = {0}
        gateway.set_model(0, self.params)

    def run(self) -> None:
        """Serve the gateway."""
        is_over = False
        while not is_over:
            try:
                report = self._gateway.next_report()
            except Closed:
                return
            self._fedbuff.leave(self._gateway.name, report.left)
            self._fedbuff.join(self._gateway.name, report.joined)
            if report.batch is not None:
                self._fedbuff.merge(report.batch)
                self.counts["done"] += len(report.batch.done)
                self.counts["failed"] += len(report.batch.failed)
            is_over = self._decide()
            if report.batch is not None:
                self._gateway.acknowledge(report.number)
        self._gateway.finish()

    def _decide(self) -> bool:
        decisions = self._fedbuff.decide()
        models = self._fedbuff.settings.models
        if decisions.version is not None:
            version = decisions.version.version
            self.params = combined(decisions.version, models.scale, self.params, models.global_lr)
            self._gateway.set_model(version, self.params)
            self._models.add(version)
            self.counts["versions"] += 1
        self._gateway.withdraw(decisions.withdrawn)
        self._gateway.give(decisions.orders)
        for version in self._models - set(self._fedbuff.active_versions):
            self._gateway.drop_model(version)
            self._models.discard(version)
        return decisions.is_over
