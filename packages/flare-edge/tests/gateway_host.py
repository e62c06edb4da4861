"""A process with a gateway and a simple parent, to be killed: ``python gateway_host.py FOLDER PORT LIFE``.

The parent gives each device that is there an order, writes each batch to ``batches.jsonl``, and acknowledges every
second one, the former too. ``LIFE`` is the process's number: tickets grow from life to life. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from flare_edge.fixed_point import Scale
from flare_edge.gateway.gateway import Closed, Gateway
from flare_edge.gateway.settings import GatewaySettings, Limits
from flare_edge.messages import Batch, Order

SCALE = Scale.for_norm(1e6)


class Parent(threading.Thread):
    def __init__(self, gateway: Gateway, folder: Path, life: int) -> None:
        super().__init__()
        self._gateway = gateway
        self._stream = (folder / "batches.jsonl").open("a")
        self._ticket = life << 32
        self._devices = set(gateway.devices())

    def run(self) -> None:
        for number, batch in self._gateway.unacknowledged():
            self._write(number, batch)
        while True:
            try:
                report = self._gateway.next_report()
            except Closed:
                return
            self._devices = (self._devices - set(report.left)) | set(report.joined)
            if report.batch is not None:
                self._write(report.number, report.batch)
                if report.number % 2 == 0:
                    self._gateway.acknowledge(report.number)
            working = {order.device for order in self._gateway.open_tickets()}
            for device in sorted(self._devices - working):
                self._ticket += 1
                self._gateway.give([Order(self._ticket, "gw-1", device, 0)])

    def _write(self, number: int, batch: Batch) -> None:
        self._stream.write(json.dumps(as_json(number, batch)) + "\n")
        self._stream.flush()


def as_json(number: int, batch: Batch) -> dict[str, Any]:
    sums = {str(key): [each.weight, each.count, each.total["w"].tolist()] for key, each in batch.sums.items()}
    return {"number": number, "done": list(batch.done), "failed": list(batch.failed), "sums": sums}


def main(folder: Path, port: int, life: int) -> None:
    limits = Limits(registrations_per_s=1e6, requests_per_s=1e6)
    certificate, key = (folder / name for name in ("certificate.pem", "key.pem"))
    own = {"certificate": certificate, "key": key} if certificate.exists() else {}
    settings = GatewaySettings(listen=f"127.0.0.1:{port}", limits=limits, **own)
    gateway = Gateway("gw-1", folder, settings, SCALE, {}, update_timeout_s=0.05)
    gateway.set_model(0, {"w": np.zeros(2)})
    parent = Parent(gateway, folder, life)
    gateway.start()
    print(gateway.join_link, flush=True)  # noqa: T201
    parent.start()
    sys.stdin.read()
    gateway.close()
    parent.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
