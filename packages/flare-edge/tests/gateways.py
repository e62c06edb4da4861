"""Gateways for tests, real and over real sockets."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flare_edge.device.safetensors import dumps
from flare_edge.fixed_point import Scale
from flare_edge.gateway.gateway import Closed, Gateway
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import Batch, Order

SCALE = Scale.for_norm(100.0)
MODEL = {"w": np.zeros(3, np.float32), "b": np.zeros((), np.float32)}
SAFETENSORS = "application/safetensors"


def make(folder: Path, settings: GatewaySettings | None = None, *, model: Any = MODEL, **more: Any) -> Gateway:
    gateway = Gateway("gw-1", folder, settings or GatewaySettings(), SCALE, {"lr": 0.1}, **more)
    gateway.set_model(0, model)
    return gateway


@contextmanager
def serving(folder: Path, settings: GatewaySettings | None = None, **more: Any) -> Iterator[Gateway]:
    gateway = make(folder, settings, **more)
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.close()


def order(ticket: int, device: str | None = None, version: int = 0, kind: str = "train") -> Order:
    return Order(ticket, "gw-1", f"gw-1/{device or ticket}", version, kind)


def update(value: float = 0.5, num_examples: int = 1, **metrics: float) -> bytes:
    tensors = {"w": np.full(3, value, np.float32), "b": np.array(value, np.float32)}
    return dumps(tensors, {"num_examples": str(num_examples), "metrics": json.dumps(metrics)})


def batch_of(gateway: Gateway) -> Batch:
    """Return the gateway's next batch; reports of devices that come and go are passed over."""
    while (report := gateway.next_report()).batch is None:
        assert report.joined or report.left
    return report.batch


def invitation(gateway: Gateway) -> str:
    return gateway.join_link.partition("#")[2].partition(".")[0]


class Reports:
    """Reads a gateway's reports on a thread, as its leaf does, until it is closed."""

    def __init__(self, gateway: Gateway, *, acknowledges: bool = True) -> None:
        self.batches: list[Batch] = []
        self.left: list[str] = []
        self._gateway = gateway
        self._acknowledges = acknowledges
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                report = self._gateway.next_report()
            except Closed:
                return
            self.left += report.left
            if report.batch is not None:
                self.batches.append(report.batch)
                if self._acknowledges:
                    self._gateway.acknowledge(report.number)

    def join(self) -> None:
        self._thread.join()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Raw:
    """A TLS connection to a gateway that sends whatever it is told to."""

    def __init__(self, gateway: Gateway) -> None:
        host, _, port = gateway.url.removeprefix("https://").rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(socket.create_connection((host, int(port)), timeout=20))
        self._stream = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer | None:
        """Return the answer, or None if the connection ended instead."""
        try:
            line = self._stream.readline()
            if not line:
                return None
            headers: dict[str, str] = {}
            while (each := self._stream.readline().strip()) != b"":
                name, _, value = each.decode().partition(":")
                headers[name.lower()] = value.strip()
            return Answer(int(line.split()[1]), headers, self._stream.read(int(headers.get("content-length", 0))))
        except (ConnectionError, ssl.SSLError):
            return None

    def request(self, method: str, path: str, body: bytes = b"", token: str = "", **headers: str) -> Answer:
        """Send a request and return its answer."""
        sent = {"host": "gateway", "content-length": str(len(body))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["authorization"] = f"Bearer {token}"
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        answer = self.answer()
        assert answer is not None
        return answer

    def close(self) -> None:
        self._stream.close()
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
