"""One of the two byte streams of a gRPC link, whose connection may change; all of it on the loop's thread."""

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

__all__ = ["LANES", "Connection", "Lane", "LinkUnknownError"]

logger = logging.getLogger(__name__)

LANES = ("prompt", "bulk")

Reconnect: TypeAlias = Callable[["Lane"], Awaitable["Connection"]]
Take: TypeAlias = Callable[[bytes], bool]


class LinkUnknownError(UnreachableError):
    """The listener has ended the link, or is another process by now."""


class Connection:
    """A gRPC stream that carries a lane for a while.

    Args:
        read: waits for a chunk; returns gRPC's EOF, or raises, when the stream is over.
        write: sends a chunk.
        abort: ends the stream at once; that need not wake who reads.
    Attributes:
        peer_received: how many of this end's chunks the peer had taken when it was made.
        accepted: set when the lane has taken the connection, or will not.
        greeted: set when the ends have proved to each other who they are, or could not.
        finished: set when the lane does not use it any more.
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
        self.accepted, self.greeted, self.finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def cancel(self) -> None:
        """End the stream at once, and the reading from it."""
        self.finished.set()
        self.greeted.set()
        self._abort()
        if self.reader is not None:
            self.reader.cancel()


class Lane:
    """A byte stream in both directions, cut into chunks, of which none is lost or repeated when a connection breaks.

    Args:
        name: of :data:`LANES`.
        loop: that of the connections.
        reconnect: makes connections, or None if the peer does and :meth:`offer` is given them.
        grace_s: how long to be without one before the lane ends.
        piece_bytes: as for :class:`Outbox`.
    Attributes:
        closing: set when the lane is to end.
        interrupted: whether it is without a connection at the moment.
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

    async def run(self, take: Take, receiver: Receiver) -> None:
        """Read chunks until ``take`` says that the lane has ended in order, or it is closed here.

        Reads no more while the ``receiver`` of what is in them is congested.

        Raises:
            PeerLostError: its connection broke and did not come back.
            ProtocolError: the peer's counts make no sense; or raised by ``take``.
        """
        reason = "none was made"
        try:
            while True:
                connection = await self._next_connection(reason)
                if connection is None:
                    return
                try:
                    reason = await self._serve(connection, take, receiver)
                finally:
                    connection.cancel()
                if not reason:
                    return
        finally:
            self._over = True
            self.outbox.drop()
            if self._offered is not None:
                self._offered.accepted.set()
            # gRPC holds the socket as long as somebody holds the call, which a link in a cycle would do for long.
            self._offered = self._connection = None

    async def offer(self, connection: Connection) -> int:
        """Go on over a connection that the peer has made; return how many of its chunks were taken.

        Raises:
            UnreachableError: the lane has ended.
        """
        if self._over or self.closing.is_set():
            raise UnreachableError("the link has ended here")
        if self._offered is not None:
            self._offered.accepted.set()  # the peer has given that one up
        self.prepare(connection)
        self.cancel()  # if it is not over yet
        await connection.accepted.wait()
        if self._connection is not connection:
            raise UnreachableError("the link has ended here, or goes on over another connection")
        return self.outbox.received

    def prepare(self, connection: Connection) -> None:
        """Take this connection next."""
        self._offered = connection
        self._offer.set()

    def close(self) -> None:
        """Send what is there and end; do not wait for a connection."""
        self.outbox.end()
        self.closing.set()
        self._offer.set()

    def cancel(self) -> None:
        """End the connection at once."""
        if self._connection is not None:
            self._connection.cancel()

    async def _serve(self, connection: Connection, take: Take, receiver: Receiver) -> str:
        """Read from a connection and send over it; return why it is over, or nothing if the lane is."""
        await connection.greeted.wait()
        if connection.finished.is_set():
            return "the connection was given up"
        writer = asyncio.ensure_future(self._write(connection))
        connection.reader = asyncio.ensure_future(self._read(connection, take, receiver))
        try:
            return await connection.reader
        except asyncio.CancelledError:
            return "the connection was given up"
        except (ProtocolError, PeerLostError):
            raise
        except Exception as error:  # gRPC's are of many types
            return _reason(error)
        finally:
            writer.cancel()
            connection.reader = None  # what it has raised holds the call, too

    async def _read(self, connection: Connection, take: Take, receiver: Receiver) -> str:
        while (chunk := await connection.read()) is not EOF:
            if take(chunk):
                return ""
            if receiver.congested:
                await asyncio.to_thread(receiver.wait_until_clear)
        return "the other end is gone"

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
            logger.debug("cannot send lane=%s reason=%s", self.name, _reason(error))
            connection.cancel()

    def _wake(self) -> None:
        """Wake the writer; called by any thread."""
        self._loop.call(self._has_chunks.set)

    async def _next_connection(self, reason: str) -> Connection | None:
        """Return the connection to use from now on; none if the lane is to end."""
        if self.closing.is_set():
            return None
        self.interrupted = self._connection is not None
        try:
            if self._reconnect is None or self._offered is not None:
                connection = await self._awaited()
            else:
                connection = await self._reconnect(self)
        except UnreachableError as error:
            raise PeerLostError(f"the connection broke ({reason}), and did not come back: {error}") from error
        if self.interrupted:
            logger.info("link resumed lane=%s reason=%s", self.name, reason)
        self.interrupted = False
        self._connection = connection
        self.outbox.restart(connection.peer_received)
        connection.accepted.set()
        return connection

    async def _awaited(self) -> Connection:
        try:
            await asyncio.wait_for(self._offer.wait(), self._grace_s)
        except TimeoutError:
            raise UnreachableError(f"it was given {self._grace_s:g} s") from None
        connection, self._offered = self._offered, None
        if connection is None:
            raise UnreachableError("closed")
        if not self.closing.is_set():
            self._offer.clear()
        return connection


def _reason(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    return str(details() if callable(details) else error) or "the connection broke"
