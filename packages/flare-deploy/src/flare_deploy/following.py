"""Files of a run at the server, read while they are written: the administrator's end of what followers.py sends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from flare_runtime.interrupts import interruptible
from flare_runtime.run.event_log import EVENTS, seq_of
from flare_transport import StreamAbortedError, StreamReader, TransportError, blocking

MOST_FAILURES = 3  # of streams in a row that brought nothing


class Incoming:
    """One stream on its way from the cell that receives it to the thread that reads it."""

    def __init__(self) -> None:
        self._readers: SimpleQueue[StreamReader] = SimpleQueue()
        self._is_released = threading.Event()
        self._is_read = False

    def lend(self, reader: StreamReader) -> None:
        """Lend the stream to the thread that reads it; return when that has read it.

        Raises:
            StreamAbortedError: it does not read on.
        """
        self._readers.put(reader)
        with blocking():
            self._is_released.wait()
        if not self._is_read:
            raise StreamAbortedError("nobody reads it any further")

    def await_reader(self, timeout_s: float) -> StreamReader:
        """Wait for the stream.

        Raises:
            TimeoutError: it does not come.
        """
        try:
            return self._readers.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"the server has not sent the stream within {timeout_s:g} s") from None

    def release(self, *, is_read: bool = False) -> None:
        """Be done with the stream, at its end or before."""
        self._is_read = is_read
        self._is_released.set()


class FollowedFile:
    """Reads a file of a run up to the end of the job, over as many streams as that takes.

    Args:
        name: of the file, in the run's folder.
        open_stream: makes the server send the file from a position on.
    """

    def __init__(self, name: str, open_stream: Callable[[int], tuple[Incoming, StreamReader]]) -> None:
        self._is_events = name == EVENTS
        self._open_stream = open_stream
        self._position = 0  # a sequence number for a file of events, an offset in bytes for any other
        self._stream: tuple[Incoming, StreamReader] | None = None
        self._rest = b""  # the begin of a line
        self._failures = 0
        self._is_over = False

    def next(self) -> bytes | None:
        """Wait for whole lines and return them; None at the end.

        Raises:
            AdminError: the server cannot be asked for the file.
            TransportError: it is there, but sends no streams.
        """
        while not self._is_over:
            if self._stream is None:
                self._stream = self._open_stream(self._position)
            try:
                with interruptible():
                    chunk = next(iter(self._stream[1]), None)
            except TransportError:  # the link has ended, or the server has not waited for a reader this slow
                self.close()
                self._failures += 1
                if self._failures > MOST_FAILURES:
                    raise
                continue
            self._failures = 0
            if chunk is None:
                self.close(is_over=True)
                rest, self._rest = self._rest, b""
                return rest or None
            if lines := self._whole_lines(bytes(chunk)):
                return lines
        return None

    def close(self, *, is_over: bool = False) -> None:
        """End the stream, if one is open; the next one begins at the line that was not read whole."""
        self._is_over = self._is_over or is_over
        self._rest = self._rest if is_over else b""
        if self._stream is not None:
            self._stream[0].release(is_read=is_over)
            self._stream = None

    def _whole_lines(self, chunk: bytes) -> bytes:
        head, newline, rest = chunk.rpartition(b"\n")
        if not newline:
            self._rest += chunk
            return b""
        lines, self._rest = self._rest + head + newline, rest
        self._position = seq_of(lines[:-1].rpartition(b"\n")[2]) if self._is_events else self._position + len(lines)
        return lines
