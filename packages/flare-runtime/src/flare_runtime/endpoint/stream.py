"""One end of a byte stream between two parties.

The frames of a stream are messages of the topic ``endpoint.stream`` with raw bytes; docs/wire.md describes them.
Backpressure works by credit: each end may send chunks that cost ``WINDOW_BYTES`` at first, and more as it is granted
credit. A chunk costs its length, or 256 if it is shorter. Credit is granted for what was read, so a slow reader buffers
at most one window.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

from flare_core import FlareError, PartyError
from flare_transport import blocking

WINDOW_BYTES = 1 << 20
CHUNK_BYTES = 1 << 18
MIN_COST = 256  # a tiny chunk occupies more memory than its bytes
MOST_CHARACTERS = 4000  # of the reason of an abort

SendFrame: TypeAlias = Callable[[dict[str, Any], "bytes | memoryview"], None]


class PartyStream:
    """A byte stream, as :class:`flare_core.Stream` describes it.

    Args:
        peer: the party at the other end.
        topic: the stream's topic.
        meta: the value that the opener gave.
        send: sends a frame to the other end.
        forget: called when no more frames can arrive for this end.
    """

    def __init__(
        self, peer: str, topic: str, meta: Any, *, send: SendFrame, forget: Callable[[], None] = lambda: None
    ) -> None:
        self.peer = peer
        self.topic = topic
        self.meta = meta
        self._send = send
        self._forget = forget
        self._writing = threading.Lock()  # held from the claim of credit to the sending of a chunk, to keep the order
        self._changed = threading.Condition()
        self._chunks: deque[memoryview] = deque()
        self._credit = WINDOW_BYTES  # the cost that this end may still send
        self._granted = WINDOW_BYTES  # the cost that the other end may still send
        self._read_cost = 0  # the cost of what was read, for which no credit was granted yet
        self._has_ended = False  # the other end writes no more
        self._is_closed = False  # this end reads no more
        self._write_error: FlareError | None = None  # why this end writes no more
        self._failure: FlareError | None = None

    def read(self, most: int = -1) -> bytes:
        with self._changed:
            if not self._can_read():
                with blocking():
                    self._changed.wait_for(self._can_read)
            if self._is_closed:
                raise PartyError(f"{self._name} is closed; nothing can be read from it", party=self.peer)
            if self._failure is not None and not self._has_ended:
                raise self._failure
            data = self._take(most)
            credit = self._read_cost if self._read_cost >= WINDOW_BYTES // 4 and not self._has_ended else 0
            self._read_cost -= credit
            self._granted += credit
        if credit:
            self._send_if_up({"credit": credit})
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        while view:
            with self._writing:
                size = self._claim(len(view))
                try:
                    self._send({"data": True}, view[:size])
                except FlareError as error:
                    self.fail(error)
                    raise
            view = view[size:]

    def close_write(self) -> None:
        with self._changed:
            if self._write_error is not None:
                return
            self._write_error = PartyError(f"{self._name} is closed for writing", party=self.peer)
            self._changed.notify_all()
        with self._writing:  # after a chunk that another thread is sending
            self._send_if_up({"end": True})
        self._forget_if_over()

    def close(self) -> None:
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            self._chunks.clear()
            self._changed.notify_all()
        self.close_write()
        if not was_closed and not self._has_ended:
            self._send_if_up({"stop": True})
        self._forget_if_over()

    def abort(self, reason: str) -> None:
        reason = str(reason)[:MOST_CHARACTERS]
        if self.fail(PartyError(f"{self._name} was aborted at this end: {reason}", party=self.peer)):
            self._send_if_up({"abort": reason})

    def fail(self, error: FlareError) -> bool:
        """End the stream with an error, without notifying the other end; return False if it was over."""
        with self._changed:
            is_over = self._failure is not None or (self._write_error is not None and self._reads_no_more)
            if not is_over:
                self._failure = error
                self._write_error = self._write_error or error
                if not self._has_ended:  # otherwise the data is complete and can still be read
                    self._chunks.clear()
                self._changed.notify_all()
        self._forget()
        return not is_over

    def receive(self, header: dict[str, Any], body: bytes | bytearray | memoryview) -> None:
        """Handle a frame from the other end.

        Raises:
            PartyError: the frame is malformed or exceeds the credit; the stream has failed then.
        """
        match header:
            case {"data": True}:
                self._receive_chunk(body)
            case {"credit": int(credit)} if credit > 0:
                with self._changed:
                    self._credit += credit
                    self._changed.notify_all()
            case {"end": True}:
                with self._changed:
                    self._has_ended = True
                    self._changed.notify_all()
                self._forget_if_over()
            case {"stop": True}:
                with self._changed:
                    closed = PartyError(f"{self.peer} has closed {self._name}", party=self.peer)
                    self._write_error = self._write_error or closed
                    self._changed.notify_all()
            case {"abort": str(reason)}:
                self.fail(PartyError(f"{self.peer} aborted {self._name}: {reason}", party=self.peer))
            case _:
                self._refuse(f"{self.peer} sent a malformed frame of {self._name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort(f"{type(error).__name__}: {error}")

    @property
    def _name(self) -> str:
        return f"the stream '{self.topic}' with {self.peer}"

    @property
    def _reads_no_more(self) -> bool:
        return self._has_ended or self._is_closed

    def _can_read(self) -> bool:
        return bool(self._chunks) or self._failure is not None or self._reads_no_more

    def _take(self, most: int) -> bytes:
        parts = []
        while self._chunks and most:
            chunk = self._chunks.popleft()
            self._read_cost += max(len(chunk), MIN_COST)
            if 0 <= most < len(chunk):
                rest = chunk[most:]
                self._chunks.appendleft(rest)
                self._read_cost -= max(len(rest), MIN_COST)
                chunk = chunk[:most]
            most -= len(chunk) if most > 0 else 0
            parts.append(chunk)
        return b"".join(parts)

    def _claim(self, wanted: int) -> int:
        """Wait for credit; return how many of the ``wanted`` bytes may be sent now."""
        with self._changed:
            if self._credit < MIN_COST and self._write_error is None:
                with blocking():
                    self._changed.wait_for(lambda: self._credit >= MIN_COST or self._write_error is not None)
            if self._write_error is not None:
                raise self._write_error
            size = min(wanted, self._credit, CHUNK_BYTES)
            self._credit -= max(size, MIN_COST)
            return size

    def _receive_chunk(self, body: bytes | bytearray | memoryview) -> None:
        with self._changed:
            if self._failure is not None or self._reads_no_more:
                return
            self._granted -= max(len(body), MIN_COST)
            is_too_much = self._granted < 0
            if not is_too_much:
                self._chunks.append(memoryview(body))
                self._changed.notify_all()
        if is_too_much:
            self._refuse(f"{self.peer} sent more of {self._name} than its credit allows")

    def _refuse(self, reason: str) -> None:
        error = PartyError(reason, party=self.peer)
        if self.fail(error):
            self._send_if_up({"abort": reason[:MOST_CHARACTERS]})
        raise error

    def _send_if_up(self, header: dict[str, Any]) -> None:
        """Send a frame without data; if the other end is lost, the stream fails instead of the caller."""
        try:
            self._send(header, b"")
        except FlareError as error:
            self.fail(error)

    def _forget_if_over(self) -> None:
        with self._changed:
            is_over = self._write_error is not None and self._reads_no_more
        if is_over:
            self._forget()
