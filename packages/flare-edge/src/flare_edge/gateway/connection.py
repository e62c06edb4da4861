"""One connection of a device: uvicorn's protocol, with deadlines for whoever sends or reads slowly, and limits."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from flare_edge.gateway.settings import Limits

log = logging.getLogger(__name__)

_SERIOUS = logging.getLogger(f"{__name__}.uvicorn")
_SERIOUS.setLevel(logging.ERROR)  # else whoever sends nonsense fills the log with warnings


def _answer(status: str, code: str, message: str, *headers: str) -> bytes:
    body = f'{{"error":"{code}","message":"{message}"}}'
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        "connection: close",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, *headers, "", body]).encode()


_BUSY = _answer("503 Service Unavailable", "connections", "there are too many connections", "retry-after: 10")
_MALFORMED = _answer("400 Bad Request", "malformed", "this is not valid HTTP")


class Admission:
    """Counts connections, in all and by address."""

    def __init__(self, limits: Limits, counts: Counter[str]) -> None:
        self.limits = limits
        self.counts = counts
        self._by_address: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        """Count a connection; return whether there is room for it."""
        self._all += 1
        self._by_address[address] += 1
        return self._all <= self.limits.connections and self._by_address[address] <= self.limits.connections_per_address

    def leave(self, address: str) -> None:
        """Forget a connection."""
        self._all -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Connection(H11Protocol):
    """A connection that must make progress.

    A request's head must be complete in time, which a timer watches from its first byte (of the first request: from the
    start). A response must be read: a timer watches while the transport's buffer is full. The body's deadline is
    :mod:`flare_edge.gateway.bodies`' matter, uvicorn closes connections without a request.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        admission: Admission,
    ) -> None:
        super().__init__(config, state, app_state, loop)
        self.logger = _SERIOUS
        self._admission = admission
        self._address = ""
        self._is_refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if not self._admission.enter(self._address):
            self._is_refused = True
            self._admission.counts["refused.connections"] += 1
            transport.write(_BUSY)
            transport.close()
            return
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._admission.leave(self._address)
        self._stop_head_timer()
        self._stop_reading_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.close()  # the rest of a body that nobody wants would be read, however long it is
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in self.scope["headers"]}:
            self.transport.close()  # a proxy may believe the other length, and what follows is not its request
        super().on_response_complete()
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; the application does not hear of the request, or that it has ended."""
        self._is_refused = True
        self._admission.counts["refused.malformed"] += 1
        can_answer = self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if can_answer:
            self.transport.write(_MALFORMED)
            self.transport.close()
        else:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reading_timer is None:
            self._reading_timer = self.loop.call_later(
                self._admission.limits.head_timeout_s, self._give_up, "slow_reader"
            )

    def resume_writing(self) -> None:
        self._stop_reading_timer()
        super().resume_writing()

    def _watch_head(self) -> None:
        is_incomplete = self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])
        if not is_incomplete or self.transport.is_closing():
            self._stop_head_timer()
        elif self._head_timer is None:
            self._start_head_timer()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._admission.limits.head_timeout_s, self._give_up, "slow_head")

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _give_up(self, reason: str) -> None:
        self._admission.counts[f"refused.{reason}"] += 1
        log.debug("a connection from %s is cut: %s", self._address, reason)
        self.transport.abort()
