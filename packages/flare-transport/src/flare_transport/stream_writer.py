"""Writing end of a byte stream."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

from flare_core.errors import FlareError
from flare_transport.errors import PeerLostError, StreamAbortedError, describe
from flare_transport.frames import Buffer
from flare_transport.workers import blocking

SendStreamFrame: TypeAlias = Callable[[dict[str, Any], Buffer], None]

_CHUNK_BYTES = 1 << 20
MAX_REASON = 4000  # characters; it is part of a header, whose size is limited
_MIN_COST = 256  # bytes; accounts for the memory of a tiny chunk besides its bytes


def chunk_cost(size: int) -> int:
    """Return how much credit a chunk of ``size`` bytes uses, in bytes."""
    return max(size, _MIN_COST)


class StreamWriter:
    """Writes a byte stream; made by :meth:`Cell.open_stream`.

    One thread writes and closes; any thread may abort. As a context manager it closes the stream at the end of the
    block, or aborts it if the block raises.

    Attributes:
        to: name of the cell that reads.
        topic: of the stream.
        total: bytes written so far.
        changed: called when the reader has granted credit, or the stream has failed; on the link's thread, which it
            must not block.
    """

    def __init__(
        self, to: str, topic: str, *, window_bytes: int, send: SendStreamFrame, forget: Callable[[], None]
    ) -> None:
        self.to = to
        self.topic = topic
        self.total = 0
        self.changed: Callable[[], None] = lambda: None
        self._send = send
        self._forget = forget
        self._state = threading.Condition()
        self._credit = window_bytes
        self._failure: FlareError | None = None
        self._closed = False
        self._acknowledged = False

    def write(self, data: Buffer) -> None:
        """Send bytes; return when the buffer may be reused. Blocks until the reader has granted enough credit.

        Raises:
            RemoteError: the handler at the other end raised, or there is none.
            StreamAbortedError: the stream was aborted or closed.
            PeerLostError: the link ended.
        """
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        start = 0
        while start < len(view):
            size = self._claim(len(view) - start)
            self._send({"at": self.total}, view[start : start + size])
            self.total += size
            start += size

    def offer(self, data: Buffer) -> int:
        """Send what there is credit for now, at most one chunk; return how many bytes that was.

        Raises: as :meth:`write`.
        """
        with self._state:
            self._raise_failure()
            size = min(len(data), self._credit, _CHUNK_BYTES) if self._credit >= _MIN_COST else 0
        self.write(memoryview(data)[:size])
        return size

    def end(self) -> None:
        """End the stream without waiting until it is read; for a thread that writes to many readers.

        Raises:
            PeerLostError: the link has ended.
        """
        self._closed = True
        self._forget()
        self._send({"end": self.total}, b"")

    def close(self) -> None:
        """End the stream; return when the handler at the other end has read all of it and returned.

        Raises:
            RemoteError: that handler raised, or stopped reading before the end.
            StreamAbortedError: the stream was aborted.
            PeerLostError: the link ended first, so it is unknown how much was read.
        """
        if not self._closed:
            self._closed = True
            if self._failure is None:
                self._send({"end": self.total}, b"")
        with blocking(), self._state:
            self._state.wait_for(lambda: self._acknowledged or self._failure is not None)
        self._forget()
        self._raise_failure()

    def abort(self, reason: str) -> None:
        """Abort the stream: reading and writing raise :class:`StreamAbortedError` with ``reason``. Thread-safe."""
        self._forget()
        with self._state:
            if self._acknowledged or self._failure is not None:
                return
            self._failure = StreamAbortedError(f"the stream '{self.topic}' to {self.to} was aborted: {reason}")
            self._state.notify_all()
        escaped = describe(StreamAbortedError(reason))["message"]
        with contextlib.suppress(PeerLostError):  # the stream has ended at the other end, too
            self._send({"abort": escaped[:MAX_REASON]}, b"")

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abort(f"{type(error).__name__}: {error}")

    def grant(self, credit: int) -> None:
        """Add credit that the reader has granted; called on the link's thread."""
        with self._state:
            self._credit += credit
            self._state.notify_all()
        self.changed()

    def acknowledge(self) -> None:
        """Note that the reader has read everything; called on the link's thread."""
        with self._state:
            self._acknowledged = True
            self._state.notify_all()

    def fail(self, error: FlareError) -> None:
        """Note the error that ended the stream: the reader or the link has failed. The first error counts."""
        with self._state:
            if not self._acknowledged and self._failure is None:
                self._failure = error
            self._state.notify_all()
        self.changed()

    def _claim(self, wanted: int) -> int:
        """Wait for credit; return how many of the ``wanted`` bytes may be sent now. The credit is used up at once."""
        if self._closed:
            raise StreamAbortedError(f"the stream '{self.topic}' to {self.to} is closed and cannot be written to")
        with self._state:
            if self._failure is None and self._credit < _MIN_COST:
                with blocking():
                    self._state.wait_for(lambda: self._failure is not None or self._credit >= _MIN_COST)
            self._raise_failure()
            size = min(wanted, self._credit, _CHUNK_BYTES)
            self._credit -= chunk_cost(size)
            return size

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
