"""Frames: the representation of messages in a stream of bytes.

    offset  size
    0       4     magic "FLR1"
    4       4     length of the header, unsigned, little-endian
    8       8     length of the body, unsigned, little-endian
    16      …     header: msgpack array [kind, to, sender, topic, id, lengths, extra]
    …       …     body

``kind`` is one of :class:`Kind`; ``to`` and ``sender`` are names of cells; ``id`` pairs a reply with its request, or
names a stream (streams.py describes its frames). ``lengths`` is nil for a body of raw bytes; else the body is a
flare-fobs object in frames of these lengths, each followed by zeros up to a multiple of 16 if there is more than one.
``extra`` is nil or a map of small values.

A LOST frame reports that there is no route to the cell whose name is its topic, or to any below it; its body is the
reason, in UTF-8.

Frames are prompt or bulk, so that small messages do not wait behind large ones. The prompt frames of a link keep their
order, and so do the bulk frames; a prompt frame may overtake bulk frames. Requests, replies and errors are bulk if they
are large; frames of a stream's writer are always bulk. All others are prompt, messages of any size included, as they
must keep their order.
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

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"FLR1"
PREFIX = struct.Struct("<4sIQ")
ALIGNMENT = 16
MAX_HEADER_BYTES = 1 << 16
PROMPT_BYTES = 1 << 16
_PADDING = bytes(ALIGNMENT)


class Kind(IntEnum):
    """Kind of a frame."""

    MESSAGE = 0
    REQUEST = 1
    REPLY = 2
    ERROR = 3
    STREAM = 4
    LOST = 5


_KINDS = frozenset(map(int, Kind))
_FROM_READER = frozenset(("credit", "done", "stop"))  # keys in frames from the reader of a stream


@dataclass(frozen=True, slots=True)
class Raw:
    """A payload of bytes, which are sent without a copy.

    Attributes:
        body: must not be changed until it is sent.
        extra: small values that are sent in the header.
    """

    body: Buffer
    extra: dict[str, Any] | None = None


class Frame(NamedTuple):
    """A frame to send: buffers to concatenate, and whether it is bulk."""

    buffers: list[Buffer]
    bulk: bool


class Message:
    """A frame that arrived; the payload is decoded each time it is accessed.

    Args:
        header: the seven fields described above.
        body: the bytes after the header.
    Attributes:
        body: the bytes as they arrived; owned by the receiver, and writable unless they are ``bytes``.
        was_sealed: whether it was encrypted and authenticated between its sender and this cell.
    """

    __slots__ = ("body", "extra", "id", "kind", "lengths", "sender", "to", "topic", "was_sealed")

    def __init__(self, header: list[Any], body: Buffer) -> None:
        self.kind, self.to, self.sender, self.topic, self.id, self.lengths, self.extra = header
        self.body = body
        self.was_sealed = False

    @property
    def payload(self) -> Any:
        """The object that was sent, or the bytes of a raw payload.

        Raises:
            FobsError: the object cannot be decoded.
            ProtocolError: the length of the body contradicts the header.
        """
        if self.lengths is None:
            return self.body
        if not self.lengths:
            return None
        return flare_fobs.load_frames(_split(self.body, self.lengths))


def encode(payload: Any) -> tuple[list[Buffer], list[int]]:
    """Serialize a payload; return buffers with padding between them, and their lengths without it.

    Arrays are not copied.
    """
    if payload is None:
        return [], []
    frames = [_flat(frame) for frame in flare_fobs.dump_frames(payload)]
    lengths = [len(frame) for frame in frames]
    if len(frames) == 1:
        return frames, lengths
    padded: list[Buffer] = []
    for frame, length in zip(frames, lengths, strict=True):
        padded.append(frame)
        if remainder := length % ALIGNMENT:
            padded.append(_PADDING[remainder:])
    return padded, lengths


def pack(kind: int, to: str, sender: str, topic: str, id_: int, payload: Any) -> Frame:
    """Return a frame to send.

    Raises:
        FobsError: the payload cannot be serialized.
        ProtocolError: the topic or ``Raw.extra`` is too large for a header.
        TypeError: the bytes of a raw payload are not contiguous.
    """
    if isinstance(payload, Raw):
        return _frame([kind, to, sender, topic, id_, None, payload.extra], [_flat(payload.body)])
    body, lengths = encode(payload)
    return _frame([kind, to, sender, topic, id_, lengths, None], body)


def repack(header: list[Any], body: Buffer) -> Frame:
    """Return a frame that arrived, to be forwarded unchanged."""
    return _frame(header, [body])


def _frame(fields: list[Any], body: list[Buffer]) -> Frame:
    header = msgpack.packb(fields)
    if len(header) > MAX_HEADER_BYTES:
        raise ProtocolError(f"the header for '{fields[3][:40]}' has {len(header)} bytes, more than {MAX_HEADER_BYTES}")
    size = sum(map(len, body))
    return Frame([PREFIX.pack(MAGIC, len(header), size) + header, *body], _is_bulk(fields[0], fields[6], size))


def _is_bulk(kind: int, extra: dict[str, Any] | None, size: int) -> bool:
    if kind == Kind.STREAM:
        return extra is None or _FROM_READER.isdisjoint(extra)
    return size > PROMPT_BYTES and kind in (Kind.REQUEST, Kind.REPLY, Kind.ERROR)


def unpack_header(data: Buffer) -> list[Any]:
    """Return the seven fields of a header.

    Raises:
        ProtocolError: the bytes are not a valid header.
    """
    try:
        header = msgpack.unpackb(data)
    except ValueError as error:
        raise ProtocolError(f"a header is not valid msgpack: {error}") from error
    if not isinstance(header, list) or len(header) != 7:
        raise ProtocolError(f"a header contains {type(header).__name__}, expected seven fields")
    kind, to, sender, topic, id_, lengths, extra = header
    if not (  # exact types: a bool is an int, and would pass for a kind
        type(kind) is int
        and kind in _KINDS
        and type(to) is type(sender) is type(topic) is str
        and type(id_) is int
        and (lengths is None or (type(lengths) is list and all(type(n) is int and n >= 0 for n in lengths)))
        and (extra is None or type(extra) is dict)
    ):
        raise ProtocolError("a header contains fields of the wrong types")
    return header


def _flat(buffer: Buffer) -> Buffer:
    """Return a buffer of the same bytes whose length and slices count bytes."""
    if isinstance(buffer, (bytes, bytearray)):
        return buffer
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else b""  # an empty array of two dimensions cannot be cast


def _split(body: Buffer, lengths: Sequence[int]) -> list[Buffer]:
    if len(lengths) == 1:
        if lengths[0] != len(body):
            raise ProtocolError(f"a body has {len(body)} bytes, its header specifies {lengths[0]}")
        return [body]
    view = memoryview(body)
    frames: list[Buffer] = []
    start = 0
    for length in lengths:
        if start + length > len(view):
            raise ProtocolError(f"a body has {len(view)} bytes, its header specifies more")
        frames.append(view[start : start + length])
        start += length + -length % ALIGNMENT
    return frames
