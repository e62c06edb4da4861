"""One of the two byte streams of a gRPC link, whose connection may change; all of it on the loop's thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from grpc.aio import EOF

from flare_transport.errors import PeerLostError, ProtocolError, UnreachableError
from flare_transport.frame_reader import Receiver
from flare_transport.links.begun import Begun
from flare_transport.links.grpc_loop import EventLoop
from flare_transport.links.outbox import Outbox

__all__ = ["LANES", "Connection", "Lane", "LinkUnknownError"]

logger = logging.getLogger(__name__)

LANES = ("prompt", "bulk")
AT_ONCE = LANES[:1]  # of which any thread begins to send what it has

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
        write: Callable[[bytes], Coroutine[Any, Any, object]],
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
        self._news: asyncio.Future[Begun] | None = None  # who sends waits for it when there is nothing to send
        self._served: tuple[Connection, int] | None = None  # what chunks go over, and the number of restarts
        self._is_taking = self._has_answers = False
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
            self._served = None
            writer.cancel()
            connection.reader = None  # what it has raised holds the call, too

    async def _read(self, connection: Connection, take: Take, receiver: Receiver) -> str:
        while (chunk := await connection.read()) is not EOF:
            self._is_taking = True
            try:
                if take(chunk):
                    return ""
            finally:
                self._is_taking = False
                if self._has_answers:
                    self._has_answers = False
                    self._begin(self.outbox.restarts)
            if receiver.congested:
                await asyncio.to_thread(receiver.wait_until_clear)
        return "the other end is gone"

    async def _write(self, connection: Connection) -> None:
        restarts = self.outbox.restarts
        self._served = (connection, restarts)
        try:
            while not self.outbox.end_sent:
                chunk = self.outbox.take(restarts)
                if chunk is not None:
                    await connection.write(chunk)
                else:
                    await (await self._next_write())
        except Exception as error:
            logger.debug("cannot send lane=%s reason=%s", self.name, _reason(error))
            connection.cancel()

    async def _next_write(self) -> Begun:
        """Wait until some thread has begun to write."""
        news: asyncio.Future[Begun] = self._loop.asyncio.create_future()
        self._news = news
        try:
            return await news
        except asyncio.CancelledError:
            if not news.cancelled():  # one had begun just then
                news.result().give_up()
            raise

    def _wake(self, restarts: int) -> None:
        """There is something to send again: begin at once, on the thread that has it, and the loop does the rest.

        So a message need not wait until the loop has had a turn, which is a good part of its way. Where more are to be
        expected at once, that turn is when they gather; and what is large is not encrypted on the thread that has it.
        """
        if self._is_taking and self._loop.is_current:
            self._has_answers = True
        elif self.outbox.is_dense or self.name not in AT_ONCE:
            self._loop.call(self._begin, restarts)
        else:
            self._begin(restarts)

    def _begin(self, restarts: int) -> None:
        served = self._served
        if served is None or served[1] != restarts:
            return  # the connection is over, and the next one looks by itself
        connection = served[0]
        try:
            chunk = self.outbox.take(restarts)
            if chunk is not None:
                self._loop.call(self._go_on, connection, Begun(connection.write(chunk)))
        except BaseException as error:
            self._loop.call(connection.cancel)  # the chunk goes over the next one
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
            logger.debug("cannot send lane=%s reason=%s", self.name, _reason(error))

    def _go_on(self, connection: Connection, begun: Begun) -> None:
        if self._served is None or self._served[0] is not connection or self._news is None:
            return begun.give_up()  # the connection is over by now
        news, self._news = self._news, None
        news.set_result(begun)

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
