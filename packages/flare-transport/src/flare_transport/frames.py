"""Frames: how a message is laid out in a stream of bytes.

    offset  size
    0       4     magic "FLR1"
    4       4     length of the header, unsigned, little-endian
    8       8     length of the body, unsigned, little-endian
    16      …     header: msgpack array [kind, to, sender, topic, id, lengths, extra]
    …       …     body

``kind`` is one of :class:`Kind`; ``to`` and ``sender`` are names of cells; ``id`` pairs a reply with its request, or
names a stream (streams.py says what its frames hold). ``lengths`` is nil for a body of raw bytes; else the body is a
flare-fobs object in frames of these lengths, each followed by zeros up to a multiple of 16 if there is more than one.
``extra`` is nil or a map of small values.

A LOST frame tells that no way leads to the cell whose name is its topic, or to any below that; its body says why, in
UTF-8.

Frames are prompt or bulk. The prompt ones of a link arrive in the order in which they were sent, and so do the bulk
ones; a prompt frame may overtake bulk ones. Requests, replies and errors are bulk if they are large; of a stream, what
the writer sends. All else is prompt.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgpack
import numpy as np

import flare_fobs
from flare_transport.errors import ProtocolError

__all__ = [
    "Buffer",
    "Encoded",
    "Frame",
    "FrameReader",
    "Kind",
    "Message",
    "Raw",
    "Receiver",
    "encode",
    "new_body",
    "pack",
    "repack",
    "unpack_header",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"FLR1"
PREFIX = struct.Struct("<4sIQ")
ALIGNMENT = 16
MAX_HEADER_BYTES = 1 << 16
MAX_MESSAGE_BYTES = 1 << 30  # larger bodies go where a receiver has prepared a place for them
READ_BYTES = 1 << 18
PROMPT_BYTES = 1 << 16
_PADDING = bytes(ALIGNMENT)
_MAX_START_BYTES = PREFIX.size + MAX_HEADER_BYTES


class Kind(IntEnum):
    """What a frame is."""

    MESSAGE = 0
    REQUEST = 1
    REPLY = 2
    ERROR = 3
    STREAM = 4
    LOST = 5


_LAST_KIND = int(max(Kind))
_REQUEST, _REPLY, _ERROR, _STREAM = map(int, (Kind.REQUEST, Kind.REPLY, Kind.ERROR, Kind.STREAM))
_FROM_READER = frozenset(("credit", "done", "stop"))  # what the reader of a stream says


@dataclass(frozen=True, slots=True)
class Raw:
    """A payload that is bytes, sent from where they lie; ``extra`` travels in the header."""

    body: Buffer
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload that was serialized already, to be sent more than once."""

    frames: list[Buffer]
    lengths: list[int]


class Frame(NamedTuple):
    """A frame to send: buffers that go one after the other, and whether it is bulk."""

    buffers: list[Buffer]
    bulk: bool


class Message:
    """A frame that arrived; the payload is decoded each time it is read.

    Attributes:
        was_sealed: whether nobody but its sender can have read or made it.
    """

    __slots__ = ("_body", "extra", "id", "kind", "lengths", "sender", "to", "topic", "was_sealed")

    def __init__(self, header: list[Any], body: Buffer) -> None:
        self.kind, self.to, self.sender, self.topic, self.id, self.lengths, self.extra = header
        self._body = body
        self.was_sealed = False

    @property
    def body(self) -> Buffer:
        """The bytes as they arrived; the receiver's own, but not to be written to if they are ``bytes``."""
        return self._body

    @property
    def payload(self) -> Any:
        """The object that was sent, or the bytes of a raw payload.

        Raises:
            FobsError: the bytes are no object.
            ProtocolError: the body is not as long as the header says.
        """
        if self.lengths is None:
            return self._body
        if not self.lengths:
            return None
        return flare_fobs.load_frames(_split(self._body, self.lengths))


class Receiver(Protocol):
    """Who takes the frames of a link."""

    @property
    def congested(self) -> bool:
        """Whether so much has been delivered that no more should be read from the link for now."""

    def wait_until_clear(self) -> None:
        """Wait until the receiver is no more :attr:`congested`."""

    def destination(self, header: list[Any], size: int) -> memoryview | None:
        """Where the body of ``size`` bytes should be written, if the receiver has a place for it."""

    def deliver(self, header: list[Any], body: Buffer) -> None:
        """Take a frame; must not block, as nothing else arrives until it returns."""


def new_body(size: int) -> memoryview:
    """Return memory that is not cleared, and not taken from the system either before something is written to it."""
    return np.empty(size, np.uint8).data


def encode(payload: Any) -> Encoded:
    """Serialize a payload; arrays stay where they are."""
    if payload is None:
        return Encoded([], [])
    if isinstance(payload, Encoded):
        return payload
    frames = [_flat(frame) for frame in flare_fobs.dump_frames(payload)]
    lengths = [len(frame) for frame in frames]
    if len(frames) == 1:
        return Encoded(frames, lengths)
    padded: list[Buffer] = []
    for frame, length in zip(frames, lengths, strict=True):
        padded.append(frame)
        if remainder := length % ALIGNMENT:
            padded.append(_PADDING[remainder:])
    return Encoded(padded, lengths)


def pack(kind: int, to: str, sender: str, topic: str, id_: int, payload: Any) -> Frame:
    """Return a frame, ready to be sent.

    Raises:
        FobsError: the payload cannot be serialized.
        ProtocolError: the topic or ``Raw.extra`` do not fit into a header.
        TypeError: the bytes of a raw payload are not contiguous.
    """
    if isinstance(payload, Raw):
        return _frame([kind, to, sender, topic, id_, None, payload.extra], [_flat(payload.body)])
    encoded = encode(payload)
    return _frame([kind, to, sender, topic, id_, encoded.lengths, None], encoded.frames)


def repack(header: list[Any], body: Buffer) -> Frame:
    """Return a frame that arrived, to be sent on as it is."""
    return _frame(header, [body])


def _frame(fields: list[Any], body: list[Buffer]) -> Frame:
    header = msgpack.packb(fields)
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header for '{fields[3][:40]}' has {len(header)} bytes, more than {MAX_HEADER_BYTES}")
    size = sum(map(len, body))
    return Frame([PREFIX.pack(MAGIC, len(header), size) + header, *body], _is_bulk(fields[0], fields[6], size))


def _is_bulk(kind: int, extra: dict[str, Any] | None, size: int) -> bool:
    if kind == _STREAM:
        return extra is None or _FROM_READER.isdisjoint(extra)
    return size > PROMPT_BYTES and kind in (_REQUEST, _REPLY, _ERROR)


def unpack_header(data: Buffer) -> list[Any]:
    """Return the seven fields of a header.

    Raises:
        ProtocolError: the bytes are none.
    """
    try:
        header = msgpack.unpackb(data)
    except ValueError as error:
        raise ProtocolError(f"a header is no msgpack: {error}") from error
    if not isinstance(header, list) or len(header) != 7:
        raise ProtocolError(f"a header holds {type(header).__name__}, expected seven fields")
    kind, to, sender, topic, id_, lengths, extra = header
    if not (
        type(kind) is int
        and 0 <= kind <= _LAST_KIND
        and type(to) is type(sender) is type(topic) is str
        and type(id_) is int
        and (lengths is None or (type(lengths) is list and all([type(n) is int and n >= 0 for n in lengths])))
        and (extra is None or type(extra) is dict)
    ):
        raise ProtocolError("a header holds fields of the wrong types")
    return header


class FrameReader:
    """Puts frames together from bytes, wherever those are cut, and delivers each when it is whole.

    Whoever has bytes writes them to :attr:`room` and says how many with :meth:`took`. Small frames are cut from a
    buffer that one read can fill with many of them; the rest of a large body is read straight into its destination.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._start = self._end = 0
        self._header: list[Any] | None = None  # of the frame whose body is being read
        self._body = memoryview(b"")
        self._filled = 0

    @property
    def room(self) -> memoryview:
        """Where the next bytes go."""
        if self._header is not None:
            return self._body[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif READ_BYTES - self._end < _MAX_START_BYTES:  # what begins here must fit
            self._buffer[: self._end - self._start] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, self._end - self._start
        return self._buffer[self._end :]

    def took(self, count: int) -> None:
        """Take note that ``count`` bytes were written to the room, and deliver what they complete.

        Raises:
            ProtocolError: the bytes are no frames.
        """
        if self._header is None:
            self._end += count
            while self._cut():
                pass
            return
        self._filled += count
        if self._filled == len(self._body):
            header, body = self._header, self._body
            self._header, self._body = None, memoryview(b"")
            self._receiver.deliver(header, body)

    def feed(self, data: memoryview) -> None:
        """Take bytes that lie elsewhere; raises as :meth:`took`."""
        while len(data):
            room = self.room
            count = min(len(room), len(data))
            if count < PROMPT_BYTES:
                room[:count] = data[:count]
            else:  # lets other threads run meanwhile
                np.copyto(np.frombuffer(room, np.uint8, count), np.frombuffer(data, np.uint8, count))
            data = data[count:]
            self.took(count)

    def end(self) -> None:
        """Take note that no more bytes will come.

        Raises:
            ProtocolError: a frame has begun.
        """
        if self._header is not None or self._start != self._end:
            raise ProtocolError("the link ended within a frame")

    def _cut(self) -> bool:
        """Take the next frame out of the buffer; false if there is no more than its beginning."""
        if self._end - self._start < PREFIX.size:
            return False
        magic, header_size, body_size = PREFIX.unpack_from(self._buffer, self._start)
        if magic != MAGIC:
            found = bytes(self._buffer[self._start : self._start + PREFIX.size])
            raise ProtocolError(f"the peer does not speak this protocol: it sent {found!r}")
        if header_size > MAX_HEADER_BYTES:
            raise ProtocolError(
                f"a header of {header_size} bytes is longer than the {MAX_HEADER_BYTES} that are allowed"
            )
        body_start = self._start + PREFIX.size + header_size
        if body_start > self._end:
            return False
        header = unpack_header(self._buffer[self._start + PREFIX.size : body_start])
        body_end = min(body_start + body_size, self._end)
        at_hand = self._buffer[body_start:body_end]
        self._start = body_end
        target = self._receiver.destination(header, body_size) if body_size else None
        if len(at_hand) == body_size:
            if target is not None:
                target[:] = at_hand
            self._receiver.deliver(header, bytearray(at_hand) if target is None else target)
            return True
        if target is None:
            if body_size > MAX_MESSAGE_BYTES:
                raise ProtocolError(
                    f"a message of {body_size} bytes is longer than the {MAX_MESSAGE_BYTES} that are allowed"
                )
            target = new_body(body_size)
        target[: len(at_hand)] = at_hand
        self._header, self._body, self._filled = header, target, len(at_hand)
        return False


def _flat(buffer: Buffer) -> Buffer:
    """The same bytes, as something whose length and slices count bytes."""
    if isinstance(buffer, bytes | bytearray):
        return buffer
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else b""  # an empty array of two dimensions cannot be cast


def _split(body: Buffer, lengths: Sequence[int]) -> list[Buffer]:
    if len(lengths) == 1:
        if lengths[0] != len(body):
            raise ProtocolError(f"a body has {len(body)} bytes, its header says {lengths[0]}")
        return [body]
    view = memoryview(body)
    frames: list[Buffer] = []
    start = 0
    for length in lengths:
        if start + length > len(view):
            raise ProtocolError(f"a body has {len(view)} bytes, its header promises more")
        frames.append(view[start : start + length])
        start += length + -length % ALIGNMENT
    return frames
