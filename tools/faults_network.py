"""A proxy whose connections can be cut or stalled, and a tracker that can stall."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from random import Random
from typing import Any

HOST = "127.0.0.1"
PIECE_BYTES = 1 << 18


class FaultyNetwork:
    """A proxy on its own thread that forwards local connections to a port.

    Args:
        to_port: the server's port.
    Attributes:
        port: the port for clients.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._connections: list[_Connection] = []
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="faulty-network", daemon=True).start()
        self._server = self._on_loop(asyncio.start_server(self._accept, HOST, 0, limit=PIECE_BYTES))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self, random: Random, *, everybody: bool) -> int:
        """Reset one connection or all; return their number."""
        return self._each(random, everybody, _Connection.reset)

    def stall(self, random: Random, *, everybody: bool) -> tuple[int, Callable[[], None]]:
        """Stall one connection or all; return their number and a function that resumes them."""
        stalled: list[_Connection] = []

        def stall(connection: _Connection) -> None:
            connection.flows.clear()
            stalled.append(connection)

        def resume() -> None:
            for connection in stalled:
                self._loop.call_soon_threadsafe(connection.flows.set)

        return self._each(random, everybody, stall), resume

    def close(self) -> None:
        """End all connections."""
        self._each(Random(0), True, _Connection.reset)
        self._loop.call_soon_threadsafe(self._server.close)

    def _each(self, random: Random, everybody: bool, what: Callable[[_Connection], None]) -> int:
        async def do() -> int:
            chosen = list(self._connections)
            if chosen and not everybody:
                chosen = [random.choice(chosen)]
            for each in chosen:
                what(each)
            return len(chosen)

        count: int = self._on_loop(do())
        return count

    def _on_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._to_port, limit=PIECE_BYTES)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((writer, far_writer))
        self._connections.append(connection)
        try:
            await asyncio.gather(connection.pump(reader, far_writer), connection.pump(far_reader, writer))
        finally:
            connection.reset()
            self._connections.remove(connection)


class _Connection:
    """A client's connection and its counterpart to the server."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._writers = writers
        self.flows = asyncio.Event()
        self.flows.set()

    def reset(self) -> None:
        self.flows.set()
        for writer in self._writers:
            writer.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one direction until it ends, then end the other one."""
        with contextlib.suppress(OSError):  # one end has closed; the reset below closes the other
            while piece := await reader.read(PIECE_BYTES):
                await self.flows.wait()
                writer.write(piece)
                await writer.drain()
        self.reset()


class Tracker:
    """A tracker that answers every line unless it is stalled.

    Attributes:
        port: the port that it listens on.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._answers = asyncio.Event()
        self._answers.set()
        self._writers: set[asyncio.StreamWriter] = set()
        threading.Thread(target=self._loop.run_forever, name="tracker", daemon=True).start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, HOST, 0), self._loop)
        self._server = starting.result(30)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def stall(self, *, is_cut: bool) -> None:
        """Stop answering; with ``is_cut``, also cut all connections."""
        self._loop.call_soon_threadsafe(self._stall, is_cut)

    def resume(self) -> None:
        """Answer again."""
        self._loop.call_soon_threadsafe(self._answers.set)

    def close(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._server.close)
        self.stall(is_cut=True)

    def _stall(self, is_cut: bool) -> None:
        self._answers.clear()
        for writer in self._writers if is_cut else ():
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):  # it was cut
                while await reader.readline():
                    await self._answers.wait()
                    writer.write(b"ok\n")
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()
