"""What a link that can change its connection has to send: chunks, kept until the peer has them.

A chunk is one message of the connection:

    offset  size
    0       1     lane: 0 prompt, 1 bulk, 2 an acknowledgement, 3 the end of the link
    1       …     a part of the lane's frames, cut at any place; of an acknowledgement, how many chunks this end has
                  taken from the other so far, 8 bytes, unsigned, little-endian

Chunks other than acknowledgements are counted, in the order in which they are sent, over both lanes. After a connection
has broken, each end tells the other how many it has taken, and the rest is sent again over the next one.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frames import Buffer, Frame

__all__ = ["ACKNOWLEDGEMENT", "BULK", "CHUNK_BYTES", "COUNT", "END", "PROMPT", "Connection", "Outbox"]

CHUNK_BYTES = 1 << 19  # a small frame waits for no more than one that is being sent
PROMPT, BULK, ACKNOWLEDGEMENT, END = range(4)
COUNT = struct.Struct("<BQ")

LANE_BYTES = 1 << 22  # that wait for the connection; a sender waits while there are more
WINDOW_BYTES = 1 << 24  # that the peer has not acknowledged
ACKNOWLEDGE_BYTES = 1 << 21
ACKNOWLEDGE_CHUNKS = 64


class _Lane:
    """Pieces of one lane that wait for the connection, each beginning with the lane's number."""

    def __init__(self, number: int) -> None:
        self.mark = bytes((number,))
        self.sending = threading.Lock()  # one frame at a time
        self.pieces: deque[bytes] = deque()
        self.bytes = 0

    def take(self) -> bytes:
        """Take out what goes into one chunk: a piece, or some small ones."""
        taken = [self.pieces.popleft()]
        size = len(taken[0])
        while self.pieces and size + len(self.pieces[0]) <= CHUNK_BYTES:
            taken.append(self.pieces.popleft()[1:])
            size += len(taken[-1])
        self.bytes -= size
        return taken[0] if len(taken) == 1 else b"".join(taken)


class Outbox:
    """Chunks on their way to the peer, over one connection at a time.

    Attributes:
        received: how many chunks of the peer's were taken; see :meth:`note_received`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes = (_Lane(PROMPT), _Lane(BULK))
        self._turn = PROMPT
        self._kept: deque[bytes] = deque()  # chunks that were sent and not acknowledged
        self._kept_bytes = 0
        self._acknowledged = 0
        self._repeat = 0  # how many of them are to be sent again
        self._connection: object | None = None
        self._ended = self._end_sent = self._dropped = False
        self.received = 0
        self._unconfirmed_chunks = self._unconfirmed_bytes = 0

    def put(self, frame: Frame) -> int:
        """Add a frame; return its size. Waits while its lane is full.

        Raises:
            PeerLostError: the outbox has ended.
        """
        lane = self._lanes[frame.bulk]
        size = sum(map(len, frame.buffers))
        with lane.sending:
            if size <= CHUNK_BYTES:
                self._add(lane, b"".join((lane.mark, *frame.buffers)))
            else:
                for parts in _cut(frame.buffers):
                    self._add(lane, b"".join((lane.mark, *parts)))
        return size

    def note_received(self, size: int) -> None:
        """Count a chunk of the peer's, and acknowledge when it is time to."""
        with self._changed:
            self.received += 1
            self._unconfirmed_chunks += 1
            self._unconfirmed_bytes += size
            if self._owes_acknowledgement():
                self._changed.notify_all()

    def acknowledge(self, count: int) -> None:
        """Let go of the first ``count`` chunks: the peer has them.

        Raises:
            ProtocolError: so many were not sent.
        """
        with self._changed:
            if count <= self._acknowledged:
                return
            if count > self._acknowledged + len(self._kept):
                raise ProtocolError(f"the peer has taken {count} chunks, more than were sent")
            while self._acknowledged < count:
                self._acknowledged += 1
                self._kept_bytes -= len(self._kept.popleft())
            self._repeat = min(self._repeat, len(self._kept))
            self._changed.notify_all()

    def switch(self, connection: object, peer_received: int) -> None:
        """Send over another connection from now on, beginning with what the peer has not got.

        Raises:
            ProtocolError: the peer's count makes no sense.
        """
        if peer_received < self._acknowledged:
            raise ProtocolError(f"the peer has taken {peer_received} chunks, and had acknowledged {self._acknowledged}")
        self.acknowledge(peer_received)
        with self._changed:
            self._connection = connection
            self._repeat = len(self._kept)
            self._changed.notify_all()

    def end(self) -> None:
        """Take no more frames; what is here is still sent."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def drop(self) -> None:
        """Take no more frames, and send none."""
        with self._changed:
            self._ended = self._dropped = True
            for lane in self._lanes:
                lane.pieces.clear()
            self._kept.clear()
            self._changed.notify_all()

    def begin_with(self, connection: Connection, first: bytes) -> None:
        """Send something over a connection before all chunks."""
        with self._changed:
            connection.first = first
            self._changed.notify_all()

    def leave(self, connection: Connection) -> None:
        """Wake the thread that sends over a connection which is over."""
        with self._changed:
            connection.over = True
            self._changed.notify_all()

    def next_chunk(self, connection: Connection) -> bytes:
        """Wait for the next chunk to send over a connection.

        Raises:
            StopIteration: there will be none.
        """
        with self._changed:
            while not (connection.over or self._dropped):
                if connection.first is not None:
                    first, connection.first = connection.first, None
                    return first
                if self._connection is connection:
                    chunk = self._next()
                    if chunk is not None:
                        return chunk
                    if self._end_sent:
                        break
                self._changed.wait()
        raise StopIteration

    def _next(self) -> bytes | None:
        if self._owes_acknowledgement():
            self._unconfirmed_chunks = self._unconfirmed_bytes = 0
            return COUNT.pack(ACKNOWLEDGEMENT, self.received)
        if self._repeat:
            self._repeat -= 1
            return self._kept[-1 - self._repeat]
        lane = self._ready_lane()
        if lane is not None:
            self._turn = BULK if lane is self._lanes[PROMPT] else PROMPT
            chunk = lane.take()
            self._changed.notify_all()  # there is room in the lane
            return self._keep(chunk)
        if self._ended and not self._end_sent and not any(lane.pieces for lane in self._lanes):
            self._end_sent = True
            return self._keep(bytes((END,)))
        return None

    def _ready_lane(self) -> _Lane | None:
        """Whose turn it is, if both have something; a full window holds back what is bulk, and much later the rest."""
        prompt, bulk = self._lanes
        may_bulk = bulk.pieces and self._kept_bytes < WINDOW_BYTES
        may_prompt = prompt.pieces and self._kept_bytes < 2 * WINDOW_BYTES
        if may_prompt and (self._turn == PROMPT or not may_bulk):
            return prompt
        return bulk if may_bulk else None

    def _keep(self, chunk: bytes) -> bytes:
        self._kept.append(chunk)
        self._kept_bytes += len(chunk)
        return chunk

    def _owes_acknowledgement(self) -> bool:
        return self._unconfirmed_bytes >= ACKNOWLEDGE_BYTES or self._unconfirmed_chunks >= ACKNOWLEDGE_CHUNKS

    def _add(self, lane: _Lane, piece: bytes) -> None:
        with self._changed:
            while lane.bytes >= LANE_BYTES and not self._ended:
                self._changed.wait()
            if self._ended:
                raise PeerLostError("the link has ended")
            lane.pieces.append(piece)
            lane.bytes += len(piece)
            self._changed.notify_all()


class Connection:
    """What carries a link for a while. Iterating over it takes chunks out of the outbox, until it is over.

    Attributes:
        chunks: what arrives; raises when the connection breaks.
        cancel: ends it at once.
        first: what is sent before all chunks, if anything is.
        peer_received: how many chunks the peer had taken when it was made.
        accepted: set when the link has taken it, or will not.
        greeted: set when the ends have proved to each other who they are, or could not.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.over = False
        self.chunks: Iterator[bytes] = iter(())
        self.cancel: Callable[[], object] = lambda: None
        self.peer_received = 0
        self.first: bytes | None = None
        self.accepted = threading.Event()
        self.greeted = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._outbox.next_chunk(self)

    def leave(self) -> None:
        """Let nothing more be sent over it."""
        self._outbox.leave(self)


def _cut(buffers: list[Buffer]) -> Iterator[list[memoryview]]:
    parts: list[memoryview] = []
    room = CHUNK_BYTES
    for buffer in buffers:
        view = memoryview(buffer)
        while len(view):
            parts.append(view[:room])
            room -= len(parts[-1])
            view = view[len(parts[-1]) :]
            if not room:
                yield parts
                parts, room = [], CHUNK_BYTES
    if parts:
        yield parts
