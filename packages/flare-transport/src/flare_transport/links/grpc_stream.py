"""A link over a bidirectional gRPC stream, whichever end has opened it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from flare_transport.errors import PeerLostError
from flare_transport.frames import Buffer
from flare_transport.links.base import StreamLink

__all__ = ["CHUNK_BYTES", "GrpcLink", "Outbox"]

CHUNK_BYTES = 1 << 20
OUTBOX_BYTES = 1 << 22
CLOSE_GRACE_S = 1.0


class GrpcLink(StreamLink):
    """A link that reads chunks from an iterator of gRPC's and has another iterate over its outbox.

    Args:
        peer: name of the cell at the other end.
        chunks: what gRPC received; raises when the stream breaks.
        outbox: what gRPC sends.
        cancel: ends the stream at once.
        released: gives up what the stream was made with.
    """

    def __init__(
        self,
        peer: str,
        *,
        chunks: Iterator[bytes],
        outbox: Outbox,
        cancel: Callable[[], object],
        released: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(peer)
        self._chunks = chunks
        self._chunk = memoryview(b"")
        self._outbox = outbox
        self._cancel = cancel
        self._released = released
        self._lock = threading.Lock()
        self._over = False
        self._grace: threading.Timer | None = None

    def recv_into(self, buffer: memoryview) -> int:
        if not self._chunk:
            try:
                self._chunk = memoryview(next(self._chunks))
            except StopIteration:
                return 0
            except Exception as error:  # gRPC's are of many types
                details = getattr(error, "details", lambda: None)() or "the connection broke"
                raise PeerLostError(f"the link to {self.peer} has ended ({details})") from error
            self.bytes_received += len(self._chunk)
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count

    def send(self, buffers: list[Buffer]) -> None:
        try:
            self.bytes_sent += self._outbox.put(buffers)
        except PeerLostError as error:
            raise PeerLostError(f"the link to {self.peer} has ended") from error
        except BaseException:  # such as a KeyboardInterrupt: the peer can make no sense of what follows half a frame
            self.close()
            raise

    def close(self) -> None:
        """End the link once the outbox is sent; a peer that does not take it gets no more than a moment."""
        self._outbox.end()
        with self._lock:
            if self._over or self._grace is not None:
                return
            self._grace = threading.Timer(CLOSE_GRACE_S, self._cancel)
            self._grace.daemon = True
            self._grace.start()

    def release(self) -> None:
        with self._lock:
            self._over = True
            if self._grace is not None:
                self._grace.cancel()
        self._outbox.drop()
        self._cancel()
        self._released()

    def join(self) -> None:
        super().join()
        if self._grace is not None and self._grace is not threading.current_thread():
            self._grace.join()


class Outbox:
    """Chunks on their way out; a sender waits while there are too many. Iterating over it takes them out."""

    def __init__(self) -> None:
        self._sending = threading.Lock()  # one frame at a time
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False

    def put(self, buffers: list[Buffer]) -> int:
        """Add the buffers of one frame; return their size.

        Raises:
            PeerLostError: the outbox has ended.
        """
        size = sum(map(len, buffers))
        with self._sending:
            if size <= CHUNK_BYTES:
                self._add(b"".join(buffers))
            else:
                for chunk in _cut(buffers):
                    self._add(chunk)
        return size

    def end(self) -> None:
        """Take no more frames; what is here is still sent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Take no more frames, and send none."""
        with self._changed:
            self._ended = True
            self._chunks.clear()
            self._bytes = 0
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._changed:
            while not self._chunks:
                if self._ended:
                    raise StopIteration
                self._changed.wait()
            size = 0
            joined = []  # small frames travel together
            while self._chunks and size + len(self._chunks[0]) <= CHUNK_BYTES:
                chunk = self._chunks.popleft()
                size += len(chunk)
                joined.append(chunk)
            self._bytes -= size
            self._changed.notify_all()
        return joined[0] if len(joined) == 1 else b"".join(joined)

    def _add(self, chunk: bytes) -> None:
        with self._changed:
            while self._bytes >= OUTBOX_BYTES and not self._ended:
                self._changed.wait()
            if self._ended:
                raise PeerLostError("the link has ended")
            self._chunks.append(chunk)
            self._bytes += len(chunk)
            self._changed.notify_all()


def _cut(buffers: list[Buffer]) -> Iterator[bytes]:
    parts: list[memoryview] = []
    room = CHUNK_BYTES
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            parts.append(view[:room])
            room -= len(parts[-1])
            view = view[len(parts[-1]) :]
            if not room:
                yield b"".join(parts)
                parts, room = [], CHUNK_BYTES
    if parts:
        yield b"".join(parts)
