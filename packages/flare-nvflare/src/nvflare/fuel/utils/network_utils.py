"""Ports of this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def get_open_ports(number: int) -> list[int]:
    """Return ports that nothing listens at now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def get_local_addresses() -> list[str]:
    """Return the addresses of this machine."""
    return sorted({str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)})
