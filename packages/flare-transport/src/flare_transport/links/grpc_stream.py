"""A link over bidirectional gRPC streams: over one, and when that breaks over the next, without losing anything."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from flare_transport.errors import PeerLostError, ProtocolError, UnreachableError
from flare_transport.frames import Frame, FrameReader, Receiver
from flare_transport.links.base import ThreadLink
from flare_transport.links.outbox import ACKNOWLEDGEMENT, COUNT, END, Connection, Outbox

__all__ = ["CLOSE_GRACE_S", "GrpcLink"]

logger = logging.getLogger(__name__)

CLOSE_GRACE_S = 1.0


class GrpcLink(ThreadLink):
    """A link whose connection may change.

    Args:
        peer: name of the cell at the other end.
        outbox: what is to be sent.
        connection: the first one.
        reconnect: makes the next one, or None if the peer makes it and :meth:`resume` is given it.
        grace_s: how long to be without a connection before the link ends.
        released: called when nothing of the link is left.
    """

    def __init__(
        self,
        peer: str,
        *,
        outbox: Outbox,
        connection: Connection,
        reconnect: Callable[[GrpcLink, float], Connection] | None,
        grace_s: float,
        released: Callable[[], None],
    ) -> None:
        super().__init__(peer)
        self.outbox = outbox
        self._connection = connection
        self._reconnect = reconnect
        self._grace_s = grace_s
        self._released = released
        self._state = threading.Condition()
        self._offered: Connection | None = None
        self._over = False
        self._interrupted = False
        self.closing = threading.Event()
        self._grace: threading.Timer | None = None

    @property
    def interrupted(self) -> bool:
        """Whether the link is without a connection at the moment."""
        return self._interrupted

    def run(self, receiver: Receiver) -> None:
        readers = (FrameReader(receiver), FrameReader(receiver))
        self.outbox.switch(self._connection, 0)
        while True:
            self._connection.greeted.wait()
            try:
                chunks: Iterator[bytes] = self._connection.chunks
                for chunk in chunks:
                    if self._take(chunk, readers):
                        return
                reason = "the other end is gone"
            except (ProtocolError, PeerLostError):
                raise
            except Exception as error:  # gRPC's are of many types
                reason = _reason(error)
            self._connection.leave()
            if self.closing.is_set():
                return
            self._change_connection(reason)

    def _take(self, chunk: bytes, readers: tuple[FrameReader, FrameReader]) -> bool:
        """Take a chunk; true if it says that the link has ended in order."""
        lane = chunk[0] if chunk else -1
        if lane == ACKNOWLEDGEMENT and len(chunk) == COUNT.size:
            self.outbox.acknowledge(COUNT.unpack(chunk)[1])
            return False
        self.outbox.note_received(len(chunk))
        if lane == END:
            for reader in readers:
                reader.end()
            return True
        if lane not in (0, 1):
            raise ProtocolError(f"the peer sent a chunk of {len(chunk)} bytes on the lane {lane}, which there is not")
        self.bytes_received += len(chunk) - 1
        readers[lane].feed(memoryview(chunk)[1:])
        return False

    def _change_connection(self, reason: str) -> None:
        """Go on over another connection.

        Raises:
            PeerLostError: there was none in time.
        """
        logger.info("link interrupted peer=%s reason=%s", self.peer, reason)
        began = time.monotonic()
        self._interrupted = True
        try:
            connection = self._reconnect(self, self._grace_s) if self._reconnect is not None else self._awaited()
        except UnreachableError as error:
            raise PeerLostError(f"the link to {self.peer} broke ({reason}), and did not come back: {error}") from error
        self._interrupted = False
        if self.closing.is_set():
            connection.cancel()
            raise PeerLostError(f"the link to {self.peer} was closed while it was interrupted ({reason})")
        with self._state:
            self._connection = connection
        self.outbox.switch(connection, connection.peer_received)
        logger.info("link resumed peer=%s after_s=%.3f", self.peer, time.monotonic() - began)
        connection.accepted.set()

    def resume(self, connection: Connection) -> int:
        """Go on over a connection that the peer has made; return how many of its chunks were taken.

        Raises:
            UnreachableError: the link has ended.
        """
        with self._state:
            if self._over or self.closing.is_set() or self._offered is not None:
                raise UnreachableError("the link to be resumed has ended here")
            self._offered = connection
            old = self._connection
            self._state.notify_all()
        old.leave()
        old.cancel()  # if it is not over yet
        connection.accepted.wait()
        with self._state:
            if self._over:
                raise UnreachableError("the link to be resumed has ended here")
        return self.outbox.received

    def _awaited(self) -> Connection:
        with self._state:
            self._state.wait_for(lambda: self._offered is not None or self.closing.is_set(), self._grace_s)
            connection, self._offered = self._offered, None
        if connection is None:
            raise UnreachableError("closed" if self.closing.is_set() else f"it was given {self._grace_s:g} s")
        return connection

    def send(self, frame: Frame) -> None:
        try:
            self.bytes_sent += self.outbox.put(frame)
        except PeerLostError as error:
            raise PeerLostError(f"the link to {self.peer} has ended") from error
        except BaseException:  # such as a KeyboardInterrupt: the peer can make no sense of what follows half a frame
            self.close()
            raise

    def close(self) -> None:
        """End the link once the outbox is sent; a peer that does not take it gets no more than a moment."""
        self.outbox.end()
        with self._state:
            self.closing.set()
            self._state.notify_all()
            if self._over or self._grace is not None:
                return
            self._grace = threading.Timer(CLOSE_GRACE_S, self._cancel)
            self._grace.daemon = True
            self._grace.start()

    def abandon(self) -> None:
        """End the link at once, and wait until it has."""
        self.outbox.drop()
        self.close()
        self._cancel()
        self.join()

    def _cancel(self) -> None:
        with self._state:
            connection = self._connection
        connection.leave()
        connection.cancel()

    def release(self) -> None:
        with self._state:
            self._over = True
            offered, self._offered = self._offered, None
            if self._grace is not None:
                self._grace.cancel()
        self.outbox.drop()
        self._cancel()
        if offered is not None:
            offered.accepted.set()
        self._released()

    def join(self) -> None:
        super().join()
        if self._grace is not None and self._grace is not threading.current_thread():
            self._grace.join()


def _reason(error: Exception) -> str:
    details: Any = getattr(error, "details", None)
    return str(details() if callable(details) else error) or "the connection broke"
