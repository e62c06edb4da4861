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
from typing import Any, NamedTuple, TypeAlias

import msgpack

import flare_fobs
from flare_transport.errors import ProtocolError

__all__ = [
    "Buffer",
    "Encoded",
    "Frame",
    "Kind",
    "Message",
    "Raw",
    "encode",
    "pack",
    "repack",
    "unpack_header",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"FLR1"
PREFIX = struct.Struct("<4sIQ")
ALIGNMENT = 16
MAX_HEADER_BYTES = 1 << 16
PROMPT_BYTES = 1 << 16
_PADDING = bytes(ALIGNMENT)


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
    """A payload that is bytes, sent from where they lie; ``extra`` travels in the header.

    Attributes:
        body: must not change until it is sent.
        extra: what can be serialized.
    """

    body: Buffer
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload that was serialized already, to be sent more than once.

    Attributes:
        frames: the buffers, with the padding between them.
        lengths: of the buffers in bytes, without padding.
    """

    frames: list[Buffer]
    lengths: list[int]


class Frame(NamedTuple):
    """A frame to send: buffers that go one after the other, and whether it is bulk."""

    buffers: list[Buffer]
    bulk: bool


class Message:
    """A frame that arrived; the payload is decoded each time it is read.

    Args:
        header: kind, receiver, sender, topic, number, lengths of the payload's buffers, and what travels with them.
        body: what follows the header.
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


def _flat(buffer: Buffer) -> Buffer:
    """The same bytes, as something whose length and slices count bytes."""
    if isinstance(buffer, (bytes, bytearray)):
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
