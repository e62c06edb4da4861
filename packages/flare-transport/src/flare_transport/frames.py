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
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias

import msgpack
import numpy as np

import flare_fobs
from flare_transport.errors import ProtocolError

__all__ = [
    "Buffer",
    "Encoded",
    "FrameReader",
    "Kind",
    "Message",
    "Raw",
    "Receiver",
    "Source",
    "encode",
    "new_body",
    "pack",
    "unpack_header",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"FLR1"
PREFIX = struct.Struct("<4sIQ")
ALIGNMENT = 16
MAX_HEADER_BYTES = 1 << 16
MAX_MESSAGE_BYTES = 1 << 30  # larger bodies go where a receiver has prepared a place for them
READ_BYTES = 1 << 18
_PADDING = bytes(ALIGNMENT)


class Kind(IntEnum):
    """What a frame is."""

    MESSAGE = 0
    REQUEST = 1
    REPLY = 2
    ERROR = 3
    STREAM = 4


_LAST_KIND = int(max(Kind))


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


class Message:
    """A frame that arrived; the payload is decoded each time it is read."""

    __slots__ = ("_body", "extra", "id", "kind", "lengths", "sender", "to", "topic")

    def __init__(self, header: list[Any], body: Buffer) -> None:
        self.kind, self.to, self.sender, self.topic, self.id, self.lengths, self.extra = header
        self._body = body

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


class Source(Protocol):
    """Where bytes come from."""

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes, write them to ``buffer`` and return how many; 0 at the end."""


class Receiver(Protocol):
    """Who takes the frames of a link."""

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


def pack(kind: int, to: str, sender: str, topic: str, id_: int, payload: Any) -> list[Buffer]:
    """Return the buffers of one frame, ready to be sent one after the other; each a sequence of bytes.

    Raises:
        FobsError: the payload cannot be serialized.
        ProtocolError: the topic or ``Raw.extra`` do not fit into a header.
        TypeError: the bytes of a raw payload are not contiguous.
    """
    if isinstance(payload, Raw):
        body: list[Buffer] = [_flat(payload.body)]
        fields = [kind, to, sender, topic, id_, None, payload.extra]
    else:
        encoded = encode(payload)
        body = encoded.frames
        fields = [kind, to, sender, topic, id_, encoded.lengths, None]
    header = msgpack.packb(fields)
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header for '{topic[:40]}' has {len(header)} bytes, more than {MAX_HEADER_BYTES}")
    return [PREFIX.pack(MAGIC, len(header), sum(map(len, body))) + header, *body]


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
    """Takes frames out of a stream of bytes.

    Small frames are cut from a buffer that one read fills with many of them; the rest of a large body is read straight
    into its destination.
    """

    def __init__(self, source: Source, receiver: Receiver) -> None:
        self._source = source
        self._receiver = receiver
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._start = self._end = 0

    def run(self) -> None:
        """Deliver every frame until the stream ends.

        Raises:
            ProtocolError: the bytes are no frames, or end in the middle of one.
            OSError: what the source raises.
        """
        while self.step():
            pass

    def step(self) -> bool:
        """Deliver one frame; false at the end of the stream."""
        if not self._need(PREFIX.size, may_end=True):
            return False
        magic, header_size, body_size = PREFIX.unpack_from(self._buffer, self._start)
        if magic != MAGIC:
            found = bytes(self._buffer[self._start : self._start + PREFIX.size])
            raise ProtocolError(f"the peer does not speak this protocol: it sent {found!r}")
        if header_size > MAX_HEADER_BYTES:
            raise ProtocolError(
                f"a header of {header_size} bytes is longer than the {MAX_HEADER_BYTES} that are allowed"
            )
        self._start += PREFIX.size
        self._need(header_size)
        header = unpack_header(self._buffer[self._start : self._start + header_size])
        self._start += header_size
        self._receiver.deliver(header, self._body(header, body_size))
        return True

    def _body(self, header: list[Any], size: int) -> Buffer:
        at_hand = min(self._end - self._start, size)
        source = self._buffer[self._start : self._start + at_hand]
        self._start += at_hand
        target = self._receiver.destination(header, size) if size else None
        if target is None:
            if at_hand == size:
                return bytearray(source)
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(
                    f"a message of {size} bytes is longer than the {MAX_MESSAGE_BYTES} that are allowed"
                )
            target = new_body(size)
        target[:at_hand] = source
        while at_hand < size:
            at_hand += self._read(target[at_hand:])
        return target

    def _need(self, size: int, *, may_end: bool = False) -> bool:
        """Have ``size`` bytes in the buffer; false if the stream ends before the first of them."""
        while self._end - self._start < size:
            if self._start == self._end:
                self._start = self._end = 0
            elif len(self._buffer) - self._start < size:
                self._buffer[: self._end - self._start] = bytes(self._buffer[self._start : self._end])
                self._start, self._end = 0, self._end - self._start
            count = self._source.recv_into(self._buffer[self._end :])
            if count == 0:
                if may_end and self._start == self._end:
                    return False
                raise ProtocolError("the link ended within a frame")
            self._end += count
        return True

    def _read(self, target: memoryview) -> int:
        count = self._source.recv_into(target)
        if count == 0:
            raise ProtocolError("the link ended within a frame")
        return count


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
