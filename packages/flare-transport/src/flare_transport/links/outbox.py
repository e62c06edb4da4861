"""Outgoing data of one lane of a link: chunks, kept until the peer acknowledges them, across reconnections.

A chunk is one message of a connection:

    offset  size
    0       1     0 part of the lane's frames, 1 acknowledgement, 2 end of the lane
    1       …     bytes of frames, split at any offset; in an acknowledgement, how many chunks this end has received
                  from the other so far, 8 bytes, unsigned, little-endian

Chunks other than acknowledgements are counted. After a connection has broken, each end tells the other how many it has
received, and the rest is sent again over the next connection.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frames import Buffer
from flare_transport.workers import blocking

MAX_CHUNK_BYTES = 1 << 21
FRAMES, ACKNOWLEDGEMENT, END = range(3)
COUNT = struct.Struct("<BQ")

QUEUE_BYTES = 1 << 22  # backpressure: senders wait while as many bytes wait for the connection
WINDOW_BYTES = 1 << 24  # flow control: no more is sent while as many bytes are unacknowledged
PATIENCE_S = 0.1  # time that a sender waits before its place in the handler pool is given to another thread
ACKNOWLEDGE_BYTES = 1 << 22
ACKNOWLEDGE_CHUNKS = 64
_MARK = bytes((FRAMES,))
_END = bytes((END,))


class Outbox:
    """Queue of outgoing chunks. Any thread adds frames; the event loop of the connections takes chunks out.

    Args:
        wake: called when there is something to take again after :meth:`take` found nothing; on any thread, which holds
            none of the outbox's locks.
        piece_bytes: returns the current maximum size of a piece of a large frame.
    Attributes:
        received: number of chunks received from the peer; see :meth:`note_received`.
    """

    def __init__(self, wake: Callable[[], None], piece_bytes: Callable[[], int]) -> None:
        self._wake = wake
        self._piece_bytes = piece_bytes
        # Two locks: a sender holds the first for a whole frame, also while it waits for room, so that frames do not
        # mix; the second guards the fields and is held briefly, as the event loop needs it.
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._pieces: deque[bytes] = deque()
        self._pieces_bytes = 0
        self._kept: deque[bytes] = deque()  # chunks that were sent and not acknowledged
        self._kept_bytes = 0
        self._acknowledged = 0
        self._unsent = 0  # how many of the kept chunks, from the end, must be sent again over this connection
        self._idle = False  # whether the last take found nothing, and wake was not called since
        self._ended = self._end_sent = False
        self.received = 0
        self._unconfirmed_chunks = self._unconfirmed_bytes = 0

    def put(self, buffers: list[Buffer]) -> int:
        """Add the buffers of a frame and return their size. Blocks while the queue is full.

        Raises:
            PeerLostError: the outbox has ended.
        """
        if not self._sending.acquire(timeout=PATIENCE_S):
            with blocking():
                self._sending.acquire()
        try:
            for parts in self._split(buffers):
                self._wait_for_room()
                self._add(b"".join((_MARK, *parts)))
        finally:
            self._sending.release()
        return sum(map(len, buffers))

    def take(self) -> bytes | None:
        """Remove and return the next chunk to send over the current connection; None if there is none."""
        with self._lock:
            chunk = self._next()
            self._idle = chunk is None
            return chunk

    @property
    def end_sent(self) -> bool:
        """True if the end was sent, so that nothing will follow."""
        return self._end_sent and not self._unsent

    def note_received(self, size: int) -> None:
        """Count a chunk received from the peer, and acknowledge when it is time to. Called by one thread."""
        with self._lock:
            self.received += 1
            self._unconfirmed_chunks += 1
            self._unconfirmed_bytes += size
            is_due = self._acknowledgement_is_due()
        if is_due:
            self._wake_if_idle()

    def acknowledge(self, count: int) -> None:
        """Drop the first ``count`` chunks, which the peer has received.

        Raises:
            ProtocolError: fewer were sent.
        """
        with self._lock:
            if count > self._acknowledged + len(self._kept):
                raise ProtocolError(f"it acknowledged {count} chunks, more than were sent")
            while self._acknowledged < count:
                self._acknowledged += 1
                self._kept_bytes -= len(self._kept.popleft())
            self._unsent = min(self._unsent, len(self._kept))
        self._wake_if_idle()  # the window may be open again

    def restart(self, peer_received: int) -> None:
        """Prepare for a new connection: chunks that the peer has not received are sent again, in order.

        Args:
            peer_received: number of chunks that the peer has received so far.
        Raises:
            ProtocolError: the number contradicts an earlier acknowledgement, or was never sent.
        """
        if peer_received < self._acknowledged:
            raise ProtocolError(f"it has received {peer_received} chunks, but acknowledged {self._acknowledged}")
        self.acknowledge(peer_received)
        with self._lock:
            self._unsent = len(self._kept)
            self._idle = False  # the writer of the new connection begins with take(), so need not be woken

    def end(self) -> None:
        """Refuse further frames; those in the queue are still sent, followed by the end of the lane."""
        with self._lock:
            self._ended = True
            self._room.notify_all()
        self._wake_if_idle()

    def drop(self) -> None:
        """Refuse further frames and discard those in the queue: the link is lost."""
        with self._lock:
            self._ended = True
            self._pieces.clear()
            self._kept.clear()
            self._unsent = 0
            self._room.notify_all()  # senders that wait for room fail now

    def _next(self) -> bytes | None:
        # Acknowledgements first: they are outside the window, or two ends with full windows would wait for each other.
        if self._acknowledgement_is_due():
            self._unconfirmed_chunks = self._unconfirmed_bytes = 0
            return COUNT.pack(ACKNOWLEDGEMENT, self.received)
        if self._unsent:
            self._unsent -= 1
            return self._kept[-1 - self._unsent]
        if self._pieces:
            return self._keep(self._next_frames()) if self._kept_bytes < WINDOW_BYTES else None
        if self._ended and not self._end_sent:
            self._end_sent = True
            return self._keep(_END)
        return None

    def _next_frames(self) -> bytes:
        """Remove the content of one chunk from the queue: a piece, or several small ones."""
        taken = [self._pieces.popleft()]
        size = len(taken[0])
        while self._pieces and size + len(self._pieces[0]) <= MAX_CHUNK_BYTES // 4:
            size += len(self._pieces[0]) - 1
            taken.append(self._pieces.popleft()[1:])  # without its mark
        was_full = self._pieces_bytes >= QUEUE_BYTES
        self._pieces_bytes -= size + len(taken) - 1
        if was_full:
            self._room.notify_all()
        return b"".join(taken)

    def _keep(self, chunk: bytes) -> bytes:
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        return chunk

    def _acknowledgement_is_due(self) -> bool:
        return self._unconfirmed_bytes >= ACKNOWLEDGE_BYTES or self._unconfirmed_chunks >= ACKNOWLEDGE_CHUNKS

    def _wait_for_room(self) -> None:
        """Wait until the queue is not full. As the peer may never read, the pool replaces a thread that waits long."""

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
        self._wake_if_idle()

    def _wake_if_idle(self) -> None:
        with self._lock:
            was_idle, self._idle = self._idle, False
        if was_idle:
            self._wake()

    def _split(self, buffers: list[Buffer]) -> Iterator[list[memoryview]]:
        """Yield the parts of a frame's buffers that make up one piece each."""
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
