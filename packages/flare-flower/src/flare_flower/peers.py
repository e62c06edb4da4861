"""Refusal of connections by other users of the machine.

Flower's programs, and the ports of this package, listen on the loopback interface without authentication, so everybody
with an account on the machine could start a run on the SuperLink. Linux tells to whom the other end of a connection
belongs; only the user of this process is served. On other systems all are.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

_TABLE = Path("/proc/net/tcp")
_TRIES = 3  # a line may be missed while other connections end, as the system writes the table in pieces


def is_own(client: tuple[str, int], port: int) -> bool:
    """Return True if a client of a port of 127.0.0.1 runs as the user of this process, or the system does not tell.

    Args:
        client: the client's address and port, of IP version 4.
        port: the port that it has connected to.
    """
    if not _TABLE.exists():
        return True
    own = f"{_hex(client[0])}:{client[1]:04X}"
    other = f"{_hex('127.0.0.1')}:{port:04X}"
    for _ in range(_TRIES):
        for line in _TABLE.read_text().splitlines():
            fields = line.split()
            if fields[1:3] == [own, other]:
                return int(fields[7]) == os.getuid()
    return False


def _hex(address: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def guard_uvicorn() -> None:
    """Have servers that this process starts with uvicorn, as Flower's programs do, answer other users with 403."""
    config = importlib.import_module("uvicorn").Config
    load = config.load

    def load_guarded(self: Any) -> None:
        load(self)
        self.loaded_app = _Guard(self.loaded_app)

    config.load = load_guarded


class _Guard:
    """An ASGI application before another."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan" or is_own(tuple(scope["client"]), scope["server"][1]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
