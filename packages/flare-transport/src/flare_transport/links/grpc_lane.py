"""One of the two byte streams of a gRPC link, which survives reconnections. All of it runs on the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from grpc.aio import EOF

from flare_transport.errors import PeerLostError, ProtocolError, UnreachableError
from flare_transport.frame_reader import Receiver
from flare_transport.links.grpc_loop import EventLoop
from flare_transport.links.outbox import Outbox

logger = logging.getLogger(__name__)

LANES = ("prompt", "bulk")

Reconnect: TypeAlias = Callable[["Lane"], Awaitable["Connection"]]
OnChunk: TypeAlias = Callable[[bytes], bool]


class LinkUnknownError(UnreachableError):
    """The listener has ended the link, or has been restarted; reconnecting is pointless."""


class Connection:
    """A gRPC stream that carries a lane until it breaks.

    Args:
        read: waits for a chunk; returns gRPC's EOF, or raises, when the stream is over.
        write: sends a chunk.
        abort: ends the stream at once; need not wake a pending ``read``.
    Attributes:
        peer_received: number of this end's chunks that the peer had received when the connection was made.
        accepted: set when the lane has switched to the connection, or never will.
        authenticated: set when the handshake is over, successfully or not.
        finished: set when the lane does not use the connection any more.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[bytes], Awaitable[object]],
        abort: Callable[[], object],
    ) -> None:
        self.read, self.write, self._abort = read, write, abort
        self.reader: asyncio.Future[str] | None = None
        self.peer_received = 0
        self.accepted, self.authenticated, self.finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def cancel(self) -> None:
        """End the stream at once, and the task that reads from it."""
        self.finished.set()
        self.authenticated.set()  # nobody must wait for a handshake that will not end
        self._abort()
        if self.reader is not None:
            self.reader.cancel()


class Lane:
    """A bidirectional byte stream in chunks, none of which is lost or repeated when a connection breaks.

    Args:
        name: one of :data:`LANES`.
        loop: the event loop of the connections.
        reconnect: makes connections; None if the peer does and passes them to :meth:`offer`.
        grace_s: time without a connection after which the lane ends, in seconds.
        piece_bytes: as for :class:`Outbox`.
    Attributes:
        closing: set when the lane is about to end.
        interrupted: whether the lane has lost its connection and waits for another.
    """

    def __init__(
        self, name: str, loop: EventLoop, reconnect: Reconnect | None, grace_s: float, piece_bytes: Callable[[], int]
    ) -> None:
        self.name = name
        self.outbox = Outbox(self._wake, piece_bytes)
        self.closing = asyncio.Event()
        self.interrupted = False
        self._loop = loop
        self._reconnect = reconnect
        self._grace_s = grace_s
        self._has_chunks = asyncio.Event()  # may be set although the outbox is empty, never the other way round
        self._offer = asyncio.Event()
        self._offered: Connection | None = None
        self._connection: Connection | None = None
        self._over = False

    async def run(self, on_chunk: OnChunk, receiver: Receiver) -> None:
        """Read chunks until ``on_chunk`` returns true, as the peer has ended the lane, or the lane is closed here.

        Stops reading while the ``receiver`` of their content is congested, so that gRPC's flow control slows the peer.

        Raises:
            PeerLostError: the connection broke and was not replaced in time.
            ProtocolError: the peer's counts are impossible; or raised by ``on_chunk``.
        """
        reason = "none was made"
        try:
            while True:
                connection = await self._next_connection(reason)
                if connection is None:
                    return
                try:
                    reason = await self._serve(connection, on_chunk, receiver)
                finally:
                    connection.cancel()
                if not reason:
                    return
        finally:
            self._over = True
            self.outbox.drop()
            if self._offered is not None:
                self._offered.accepted.set()
            # gRPC keeps the socket open as long as the call is referenced, and this lane may be part of a cycle.
            self._offered = self._connection = None

    async def offer(self, connection: Connection) -> int:
        """Continue over a connection that the peer has made; return the number of chunks received from it so far.

        The connector may notice a broken connection first, so the current one is cancelled here. The number is final
        only once its reader has stopped, which is why this waits for the lane to switch.

        Raises:
            UnreachableError: the lane has ended.
        """
        if self._over or self.closing.is_set():
            raise UnreachableError("the link has ended here")
        if self._offered is not None:
            self._offered.accepted.set()  # superseded: the peer has abandoned that one
        self.prepare(connection)
        self.cancel()
        await connection.accepted.wait()
        if self._connection is not connection:
            raise UnreachableError("the link has ended here, or continues over another connection")
        return self.outbox.received

    def prepare(self, connection: Connection) -> None:
        """Use this connection next."""
        self._offered = connection
        self._offer.set()

    def close(self) -> None:
        """Send what is queued and end; do not wait for a connection."""
        self.outbox.end()
        self.closing.set()
        self._offer.set()

    def cancel(self) -> None:
        """End the current connection at once."""
        if self._connection is not None:
            self._connection.cancel()

    async def _serve(self, connection: Connection, on_chunk: OnChunk, receiver: Receiver) -> str:
        """Read from and write to a connection; return why it is over, or an empty string if the lane is."""
        await connection.authenticated.wait()
        if connection.finished.is_set():
            return "the connection was abandoned"
        writer = asyncio.ensure_future(self._write(connection))
        connection.reader = asyncio.ensure_future(self._read(connection, on_chunk, receiver))
        try:
            return await connection.reader
        except asyncio.CancelledError:
            return "the connection was abandoned"
        except (ProtocolError, PeerLostError):
            raise
        except Exception as error:  # gRPC raises many types
            return _reason(error)
        finally:
            writer.cancel()
            connection.reader = None  # its exception references the call, which must not outlive the connection

    async def _read(self, connection: Connection, on_chunk: OnChunk, receiver: Receiver) -> str:
        while (chunk := await connection.read()) is not EOF:
            if on_chunk(chunk):
                return ""
            if receiver.congested:
                await asyncio.to_thread(receiver.wait_until_clear)  # other links share this event loop
        return "the peer closed the connection"

    async def _write(self, connection: Connection) -> None:
        try:
            # A cancelled writer must not take chunks that are meant for the next connection, even if gRPC's write
            # returned normally in the same turn of the loop.
            while self._connection is connection and not self.outbox.end_sent:
                self._has_chunks.clear()  # before looking, so that a frame added meanwhile sets it again
                chunk = self.outbox.take()
                if chunk is None:
                    await self._has_chunks.wait()
                else:
                    await connection.write(chunk)
        except Exception as error:
            # Nothing is lost: the outbox keeps the chunk, and sends it again over the next connection.
            logger.debug("cannot send lane=%s reason=%s", self.name, _reason(error))
            connection.cancel()

    def _wake(self) -> None:
        """Wake the writer; called by any thread."""
        self._loop.call(self._has_chunks.set)

    async def _next_connection(self, reason: str) -> Connection | None:
        """Return the connection to use from now on; None if the lane is about to end."""
        if self.closing.is_set():
            return None
        self.interrupted = self._connection is not None
        try:
            if self._reconnect is None or self._offered is not None:
                connection = await self._next_offered()
            else:
                connection = await self._reconnect(self)
        except UnreachableError as error:
            raise PeerLostError(f"the connection broke ({reason}) and could not be restored: {error}") from error
        if self.interrupted:
            logger.info("link resumed lane=%s reason=%s", self.name, reason)
        self.interrupted = False
        self._connection = connection
        self.outbox.restart(connection.peer_received)
        connection.accepted.set()
        return connection

    async def _next_offered(self) -> Connection:
        try:
            await asyncio.wait_for(self._offer.wait(), self._grace_s)
        except TimeoutError:
            raise UnreachableError(f"the peer did not reconnect within {self._grace_s:g} s") from None
        connection, self._offered = self._offered, None
        if connection is None:
            raise UnreachableError("closed")
        if not self.closing.is_set():
            self._offer.clear()
        return connection


def _reason(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    return str(details() if callable(details) else error) or "the connection broke"
