"""Refusal of connections by other users of the machine.

Flower's programs, and the ports of this package, listen on the loopback interface without authentication, so everybody
with an account on the machine could start a run on the SuperLink. Linux tells to whom the other end of a connection
belongs; only the user of this process is served. On other systems all are.
"""

from __future__ import annotations

import importlib
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

_DIAG, _BY_FAMILY, _REQUEST, _ERROR, _ESTABLISHED = 4, 20, 1, 2, 1  # of linux/sock_diag.h, netlink.h and tcp_states.h
_HEADER = struct.Struct("=IHHII")  # length, kind, flags, number, sender
_IDENTITY = struct.Struct("!HH4s12x4s12x")  # ports and addresses of the socket, and of the other end
_TRIES = 3  # a line of /proc/net/tcp may be missed while other connections end, as it is written in pieces


def is_own(client: tuple[str, int], port: int) -> bool:
    """Return True if a client of a port of 127.0.0.1 runs as the user of this process, or the system does not tell.

    Args:
        client: the client's address and port, of IP version 4.
        port: the port that it has connected to.
    """
    if sys.platform != "linux":
        return True
    try:
        user = _user_by_netlink(client, port)
    except OSError:  # not in this kernel, or forbidden
        user = _user_by_table(client, port)
    return user == os.getuid()


def _user_by_netlink(client: tuple[str, int], port: int) -> int | None:
    """Ask the kernel for the user of one socket, see sock_diag(7); the answer takes some microseconds."""
    identity = _IDENTITY.pack(client[1], port, socket.inet_aton(client[0]), socket.inet_aton("127.0.0.1"))
    asked = (
        struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + identity + b"\0\0\0\0" + b"\xff" * 8
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _DIAG) as kernel:
        kernel.send(_HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        code = -int(struct.unpack_from("=i", answer, _HEADER.size)[0])
        raise OSError(code, os.strerror(code))
    found = answer[_HEADER.size :]
    is_it = found[1] == _ESTABLISHED and found[4 : 4 + _IDENTITY.size] == identity
    return int(struct.unpack_from("=I", found, 64)[0]) if is_it else None


def _user_by_table(client: tuple[str, int], port: int) -> int | None:
    ends = [f"{_hex(client[0])}:{client[1]:04X}", f"{_hex('127.0.0.1')}:{port:04X}"]
    for _ in range(_TRIES):
        for line in Path("/proc/net/tcp").read_text().splitlines():
            fields = line.split()
            if fields[1:3] == ends:
                return int(fields[7])
    return None


def _hex(address: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(address.split(".")))


def guard_uvicorn() -> None:
    """Answer other users with 403, in all servers that this process starts with uvicorn, as Flower's programs do."""
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
