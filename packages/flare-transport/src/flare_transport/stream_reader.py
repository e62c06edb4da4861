"""Reading end of a byte stream."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import flare_fobs
from flare_core.errors import FlareError
from flare_transport.errors import PeerLostError, ProtocolError, StreamAbortedError
from flare_transport.frames import Buffer
from flare_transport.stream_writer import SendStreamFrame, chunk_cost
from flare_transport.workers import blocking

GAP_S = 10.0  # time to wait for chunks that are missing when the end arrives, in seconds


class StreamReader:
    """Reads a byte stream; made by a cell for the stream's handler, whose thread alone may use it.

    Iterating over it yields the bytes in chunks, as they arrive. Chunks may be kept; they are read-only if they were
    sent as ``bytes`` by a cell of the same process.

    Attributes:
        sender: name of the cell that writes.
        topic: of the stream.
    """

    def __init__(self, sender: str, topic: str, meta: Buffer, *, window_bytes: int, send: SendStreamFrame) -> None:
        self.sender = sender
        self.topic = topic
        self._encoded_meta = meta
        self._send = send
        self._state = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._current = memoryview(b"")  # unread rest of the current chunk
        self._current_cost = 0
        self._window = window_bytes
        self._granted = window_bytes  # credit that the writer has not used yet
        self._read_cost = 0  # cost of chunks that were read, for which no credit was granted yet
        self._received = 0  # length of the contiguous bytes from the start
        self._ahead: dict[int, Buffer] = {}  # chunks that arrived early, by offset
        self._gap_timer: threading.Timer | None = None
        self._total: int | None = None
        self._failure: FlareError | None = None

    @property
    def meta(self) -> Any:
        """The object that the writer passed when it opened the stream.

        Raises:
            FobsError: it cannot be decoded.
        """
        return flare_fobs.loads(bytes(self._encoded_meta)) if len(self._encoded_meta) else None

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end of the stream; all remaining bytes if negative.

        Raises:
            StreamAbortedError: the writer aborted the stream.
            PeerLostError: the link ended first.
        """
        parts: list[memoryview] = []
        missing = size
        while missing and self._advance():
            part = self._current if missing < 0 else self._current[:missing]
            self._current = self._current[len(part) :]
            missing -= len(part) if missing > 0 else 0
            parts.append(part)
        return b"".join(parts)

    def __iter__(self) -> Iterator[memoryview]:
        while self._advance():
            chunk, self._current = self._current, self._current[:0]
            yield chunk

    def finish(self) -> None:
        """Check, after the handler has returned, that it has read everything.

        Raises:
            StreamAbortedError: it has not.
        """
        if self._advance():
            raise StreamAbortedError(f"the handler of '{self.topic}' returned before it had read the whole stream")

    def receive(self, offset: int, chunk: Buffer) -> None:
        """Add a chunk that arrived; called on the link's thread.

        Raises:
            ProtocolError: the writer has exceeded its credit.
        """
        with self._state:
            if offset < self._received or offset in self._ahead or self._is_complete():
                return  # a duplicate
            # Early chunks cost credit, too, so that gaps do not allow a writer to fill the memory.
            self._granted -= chunk_cost(len(chunk))
            if self._granted < 0:
                raise ProtocolError(f"{self.sender} exceeded its credit for the stream '{self.topic}'")
            self._ahead[offset] = chunk
            while (following := self._ahead.pop(self._received, None)) is not None:
                self._received += len(following)
                self._chunks.append(memoryview(following))
            self._state.notify_all()

    def end(self, total: int) -> None:
        """Note the end of the stream and its length in bytes; called on the link's thread."""
        with self._state:
            if self._total is not None or self._failure is not None:
                return
            self._total = total
            if not self._is_complete():
                self._gap_timer = threading.Timer(GAP_S, self._fail_for_gap)
                self._gap_timer.daemon = True
                self._gap_timer.start()
            self._state.notify_all()

    def _fail_for_gap(self) -> None:
        missing = f"bytes from offset {self._received} are missing, of {self._total}"
        self.fail(ProtocolError(f"'{self.topic}' from {self.sender}: {missing}"))

    def fail(self, error: FlareError) -> None:
        """Note the error that ended the stream, unless all of it has arrived; called on the link's thread."""
        with self._state:
            if self._gap_timer is not None:
                self._gap_timer.cancel()
            if not self._is_complete() and self._failure is None:
                self._failure = error
                self._chunks.clear()
                self._state.notify_all()

    def _advance(self) -> bool:
        """Wait for bytes to read; return false at the end."""
        if self._current:
            return True
        self._read_cost += self._current_cost
        self._current_cost = 0
        if self._read_cost >= self._window // 4:
            self._grant()
        with self._state:
            if self._ready():
                return self._next()
        self._grant()  # even little credit, before waiting: the writer might be waiting for it
        with self._state:
            if not self._ready():
                with blocking():
                    self._state.wait_for(self._ready)
            return self._next()

    def _is_complete(self) -> bool:
        return self._total is not None and self._received >= self._total

    def _ready(self) -> bool:
        return bool(self._chunks) or self._is_complete() or self._failure is not None

    def _next(self) -> bool:
        if self._failure is not None:
            raise self._failure
        if not self._chunks:
            if self._gap_timer is not None:
                self._gap_timer.cancel()
            if self._received != self._total:
                raise ProtocolError(
                    f"'{self.topic}' from {self.sender}: {self._received} bytes arrived, expected {self._total}"
                )
            return False
        self._current = self._chunks.popleft()
        self._current_cost = chunk_cost(len(self._current))
        return True

    def _grant(self) -> None:
        """Grant credit for what was read. Sending may block, so not under the lock, which the link's thread needs."""
        credit, self._read_cost = self._read_cost, 0
        if credit and not self._is_complete():
            with self._state:  # before sending, as the writer may use the credit at once
                self._granted += credit
            with contextlib.suppress(PeerLostError):  # the next read raises the failure, or returns what has arrived
                self._send({"credit": credit}, b"")
