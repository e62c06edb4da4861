"""What one lane of a link has to send: chunks, kept until the peer has them, over one connection after another.

A chunk is one message of a connection:

    offset  size
    0       1     0 a part of the lane's frames, 1 an acknowledgement, 2 the end of the lane
    1       …     bytes of frames, cut at any place; of an acknowledgement, how many chunks this end has taken from the
                  other so far, 8 bytes, unsigned, little-endian

Chunks other than acknowledgements are counted. After a connection has broken, each end tells the other how many it has
taken, and the rest is sent again over the next one.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frames import Buffer
from flare_transport.workers import blocking

__all__ = ["ACKNOWLEDGEMENT", "COUNT", "END", "FRAMES", "MAX_CHUNK_BYTES", "Outbox"]

MAX_CHUNK_BYTES = 1 << 21
FRAMES, ACKNOWLEDGEMENT, END = range(3)
COUNT = struct.Struct("<BQ")

QUEUE_BYTES = 1 << 22  # that wait for the connection; a sender waits while there are as many
PATIENCE_S = 0.1  # for which a sender waits before it lets others run in its place
WINDOW_BYTES = 1 << 24  # that the peer has not acknowledged; no more is sent until it has
ACKNOWLEDGE_BYTES = 1 << 22
ACKNOWLEDGE_CHUNKS = 64
_MARK = bytes((FRAMES,))
_END = bytes((END,))


class Outbox:
    """Chunks on their way to the peer. Any thread adds frames; the loop of the connections takes chunks out.

    Args:
        wake: called when there is something to take again after :meth:`take` found nothing; on any thread, which holds
            none of the outbox's locks.
        piece_bytes: how large the pieces of a large frame may be at the moment.
    Attributes:
        received: how many chunks of the peer's were taken; see :meth:`note_received`.
    """

    def __init__(self, wake: Callable[[], None], piece_bytes: Callable[[], int]) -> None:
        self._wake = wake
        self._piece_bytes = piece_bytes
        self._sending = threading.Lock()  # one frame at a time
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._pieces: deque[bytes] = deque()
        self._pieces_bytes = 0
        self._kept: deque[bytes] = deque()  # chunks that were sent and not acknowledged
        self._kept_bytes = 0
        self._acknowledged = 0
        self._repeat = 0  # how many of them are to be sent again
        self._idle = False  # whether the last look found nothing to send, and nobody has been woken since
        self._ended = self._end_sent = False
        self.received = 0
        self._unconfirmed_chunks = self._unconfirmed_bytes = 0

    def put(self, buffers: list[Buffer]) -> int:
        """Add the buffers of a frame; return their size. Waits while there is much to send.

        Raises:
            PeerLostError: the outbox has ended.
        """
        size = sum(map(len, buffers))
        if not self._sending.acquire(timeout=PATIENCE_S):
            with blocking():
                self._sending.acquire()
        try:
            for parts in self._cut(buffers):
                self._await_room()
                self._add(b"".join((_MARK, *parts)))
        finally:
            self._sending.release()
        return size

    def take(self) -> bytes | None:
        """Take the next chunk out, to be sent over the current connection; None if there is none."""
        with self._lock:
            chunk = self._next()
            self._idle = chunk is None
            return chunk

    @property
    def end_sent(self) -> bool:
        """Whether the end was sent, so that nothing will follow."""
        return self._end_sent and not self._repeat

    def note_received(self, size: int) -> None:
        """Count a chunk of the peer's, and acknowledge when it is time to; on one thread."""
        with self._lock:
            self.received += 1
            self._unconfirmed_chunks += 1
            self._unconfirmed_bytes += size
            owes = self._owes_acknowledgement()
        if owes:
            self._rouse()

    def acknowledge(self, count: int) -> None:
        """Let go of the first ``count`` chunks: the peer has them.

        Raises:
            ProtocolError: so many were not sent.
        """
        with self._lock:
            if count > self._acknowledged + len(self._kept):
                raise ProtocolError(f"it has taken {count} chunks, more than were sent")
            while self._acknowledged < count:
                self._acknowledged += 1
                self._kept_bytes -= len(self._kept.popleft())
            self._repeat = min(self._repeat, len(self._kept))
        self._rouse()

    def restart(self, peer_received: int) -> None:
        """Send again what the peer, which has taken so many chunks, has not got, over a new connection.

        Raises:
            ProtocolError: the peer's count makes no sense.
        """
        if peer_received < self._acknowledged:
            raise ProtocolError(f"it has taken {peer_received} chunks, and had acknowledged {self._acknowledged}")
        self.acknowledge(peer_received)
        with self._lock:
            self._repeat = len(self._kept)
            self._idle = False  # it looks without being woken

    def end(self) -> None:
        """Take no more frames; what is here is still sent."""
        with self._lock:
            self._ended = True
            self._room.notify_all()
        self._rouse()

    def drop(self) -> None:
        """Take no more frames, and send none."""
        with self._lock:
            self._ended = True
            self._pieces.clear()
            self._kept.clear()
            self._repeat = 0
            self._room.notify_all()

    def _next(self) -> bytes | None:
        if self._owes_acknowledgement():
            self._unconfirmed_chunks = self._unconfirmed_bytes = 0
            return COUNT.pack(ACKNOWLEDGEMENT, self.received)
        if self._repeat:
            self._repeat -= 1
            return self._kept[-1 - self._repeat]
        if self._pieces:
            return self._keep(self._taken()) if self._kept_bytes < WINDOW_BYTES else None
        if self._ended and not self._end_sent:
            self._end_sent = True
            return self._keep(_END)
        return None

    def _taken(self) -> bytes:
        """Take out what goes into one chunk: a piece, or some small ones."""
        taken = [self._pieces.popleft()]
        size = len(taken[0])
        while self._pieces and size + len(self._pieces[0]) <= MAX_CHUNK_BYTES // 4:
            size += len(self._pieces[0]) - 1
            taken.append(self._pieces.popleft()[1:])
        was_full = self._pieces_bytes >= QUEUE_BYTES
        self._pieces_bytes -= size + len(taken) - 1
        if was_full:
            self._room.notify_all()
        return b"".join(taken)

    def _keep(self, chunk: bytes) -> bytes:
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        return chunk

    def _owes_acknowledgement(self) -> bool:
        return self._unconfirmed_bytes >= ACKNOWLEDGE_BYTES or self._unconfirmed_chunks >= ACKNOWLEDGE_CHUNKS

    def _await_room(self) -> None:
        """Wait until there is less to send. A peer may never take it, so others get the thread's place in its pool."""

        def has_room() -> bool:
            return self._pieces_bytes < QUEUE_BYTES or self._ended

        with self._lock:
            if self._room.wait_for(has_room, PATIENCE_S):
                return
        with blocking(), self._lock:
            self._room.wait_for(has_room)

    def _add(self, piece: bytes) -> None:
        with self._lock:
            if self._ended:
                raise PeerLostError("the link has ended")
            self._pieces.append(piece)
            self._pieces_bytes += len(piece)
            was_idle, self._idle = self._idle, False
        if was_idle:
            self._wake()

    def _rouse(self) -> None:
        with self._lock:
            was_idle, self._idle = self._idle, False
        if was_idle:
            self._wake()

    def _cut(self, buffers: list[Buffer]) -> Iterator[list[memoryview]]:
        parts: list[memoryview] = []
        room = self._piece_bytes()
        for buffer in buffers:
            view = memoryview(buffer)
            while len(view):
                parts.append(view[:room])
                room -= len(parts[-1])
                view = view[len(parts[-1]) :]
                if not room:
                    yield parts
                    parts, room = [], self._piece_bytes()
        if parts:
            yield parts
