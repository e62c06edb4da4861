"""A second implementation of docs/wire.md, written from that document alone: frames, objects and sockets.

It shares no code with Flare, so that whatever the two agree on must stand in the document. It is as small as it can
be: it blocks, it serves one link, and its user says what comes next.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import itertools
import os
import socket
import struct
import threading
from dataclasses import dataclass
from queue import SimpleQueue

import msgpack
import numpy as np

MESSAGE, REQUEST, REPLY, ERROR, STREAM, LOST = range(6)
WAIT_S = 20
INLINE_BYTES = 256


class LinkEndedError(Exception):
    """No more frames will arrive over a link."""


class FailedError(Exception):
    """The peer answered with an error (its kind and message) or reported that a cell is lost."""


@dataclass
class Frame:
    """A frame, as in section 2."""

    kind: int
    to: str
    sender: str
    topic: str = ""
    id: int = 0
    lengths: list[int] | None = None
    extra: dict | None = None
    body: bytes = b""

    @property
    def fields(self) -> list:
        return [self.kind, self.to, self.sender, self.topic, self.id, self.lengths, self.extra]

    @property
    def payload(self):
        return decode(split(self.body, self.lengths))

    @property
    def is_of_writer(self) -> bool:
        """Whether a stream frame is from its writer; both ends may have chosen the same number for theirs."""
        return bool({"open", "at", "end", "abort"} & set(self.extra))

    @property
    def is_bulk(self) -> bool:
        if self.kind == STREAM:
            return self.is_of_writer
        return self.kind in (REQUEST, REPLY, ERROR) and len(self.body) > 65_536

    def pack(self) -> bytes:
        header = msgpack.packb(self.fields)
        return b"FLR1" + struct.pack("<IQ", len(header), len(self.body)) + header + self.body

    @staticmethod
    def read(take) -> Frame:
        """Read a frame by means of a function that returns a given number of bytes."""
        magic, header_length, body_length = struct.unpack("<4sIQ", take(16))
        assert magic == b"FLR1"
        fields = msgpack.unpackb(take(header_length))
        return Frame(*fields, body=take(body_length))


def join(parts: list[bytes]) -> bytes:
    """Return the body of these parts."""
    return parts[0] if len(parts) == 1 else b"".join(part + bytes(-len(part) % 16) for part in parts)


def split(body: bytes, lengths: list[int]) -> list[bytes]:
    """Return the parts of a body."""
    starts = itertools.accumulate((length + -length % 16 for length in lengths), initial=0)
    return [body[start : start + length] for start, length in zip(starts, lengths, strict=False)]


def to_file(parts: list[bytes]) -> bytes:
    """Return parts in the format of a file."""
    data = b"FOBS\x01" + struct.pack(f"<3xQ{len(parts)}Q", len(parts), *map(len, parts)) + parts[0]
    for part in parts[1:]:
        data += bytes(-len(data) % 64) + part
    return data


def from_file(data: bytes) -> list[bytes]:
    """Return the parts in the bytes of a file."""
    magic, version, count = struct.unpack_from("<4sB3xQ", data)
    assert (magic, version) == (b"FOBS", 1)
    at, parts = 16 + 8 * count, []
    for length in struct.unpack_from(f"<{count}Q", data, 16):
        at += -at % 64 if parts else 0
        parts.append(data[at : at + length])
        at += length
    return parts


def array_header(array: np.ndarray) -> bytes:
    rest = struct.pack("<B", array.ndim) + struct.pack(f"<{array.ndim}Q", *array.shape) + array.dtype.name.encode()
    return struct.pack("<H", 2 + len(rest)) + rest


def read_array(header: bytes, elements: bytes) -> np.ndarray:
    shape = struct.unpack_from(f"<{header[2]}Q", header, 3)
    return np.frombuffer(elements, header[3 + 8 * header[2] :].decode()).reshape(shape)


def encode(value) -> list[bytes]:
    """Return the parts of an object."""
    arrays: list[bytes] = []

    def plain(each):
        def head(name, *state):
            return (
                msgpack.ExtType(1, name.encode()),
                *map(plain, state),
            )  # a tuple, so that it can be the key of a map

        if isinstance(each, (list, tuple)):
            return [plain(item) for item in each] if isinstance(each, list) else head("tuple", *each)
        if isinstance(each, dict):
            return {plain(key): plain(item) for key, item in each.items()}
        if isinstance(each, int) and not -(1 << 63) <= each < 1 << 64:
            return msgpack.ExtType(2, each.to_bytes(each.bit_length() // 8 + 1, "little", signed=True))
        if isinstance(each, np.generic):
            return msgpack.ExtType(3, array_header(np.asarray(each)) + each.tobytes())
        if isinstance(each, np.ndarray):
            if each.nbytes <= INLINE_BYTES:
                return msgpack.ExtType(4, array_header(each) + each.tobytes())
            arrays.append(each.tobytes())
            return msgpack.ExtType(5, array_header(each))
        if isinstance(each, datetime.datetime):
            day = (each.year, each.month, each.day, each.hour, each.minute, each.second)
            return head("datetime", *day, each.microsecond, each.fold, each.tzinfo)
        if isinstance(each, datetime.timedelta):
            return head("timedelta", each.days, each.seconds, each.microseconds)
        if isinstance(each, datetime.timezone):
            return head("timezone", each.utcoffset(None))
        return each

    return [msgpack.packb(plain(value)), *arrays]


@dataclass(frozen=True)
class Head:
    """Return the first item of a list that represents one object."""

    name: str


def decode(parts: list[bytes]):
    """Return the object in these parts."""
    if not parts:
        return None
    arrays = iter(parts[1:])
    types = {
        "tuple": lambda *items: items,
        "timedelta": datetime.timedelta,
        "timezone": datetime.timezone,
        "datetime": lambda *s: datetime.datetime(*s[:7], fold=s[7], tzinfo=s[8]),
    }

    def extension(code, data):
        if code == 1:
            return Head(data.decode())
        if code == 2:
            return int.from_bytes(data, "little", signed=True)
        header, elements = data[: int.from_bytes(data[:2], "little")], data[int.from_bytes(data[:2], "little") :]
        if code == 3:
            return read_array(header, elements)[()]
        return read_array(header, elements if code in (4, 6) else next(arrays))

    def listed(items):
        return types[items[0].name](*items[1:]) if items and isinstance(items[0], Head) else items

    return msgpack.unpackb(parts[0], ext_hook=extension, list_hook=listed, strict_map_key=False)


def chain(*items: bytes | str) -> bytes:
    """Return the items, each preceded by its length in 4 bytes."""
    given = [item.encode() if isinstance(item, str) else item for item in items]
    return b"".join(struct.pack("<I", len(item)) + item for item in given)


def proof(secret: bytes, role: str, connector: str, its_nonce: bytes, listener: str, nonce: bytes) -> bytes:
    text = chain("flare handshake 1", role, connector, its_nonce, listener, nonce)
    return hmac.new(secret, text, hashlib.sha256).digest()


class UnixLink:
    """The connector's end of a link over a unix socket."""

    def __init__(self, address: str, name: str, secret: bytes, check: bool = True) -> None:
        self.frames: SimpleQueue[Frame | Exception] = SimpleQueue()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(WAIT_S)
        self._stream = self._socket.makefile("rb")
        try:
            self._socket.connect(address.removeprefix("unix://"))
            self.peer = self._shake_hands(name, secret, check)
        except BaseException:
            self._stream.close()
            self._socket.close()
            raise
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def send(self, frame: Frame) -> None:
        self._socket.sendall(frame.pack())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the peer may have closed it first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._stream.close()
        self._socket.close()

    def _shake_hands(self, name: str, secret: bytes, check: bool) -> str:
        nonce = os.urandom(32)
        self._say([3, name, nonce])
        peer, its_nonce, its_proof = self._hear()
        assert not check or its_proof == proof(secret, "listener", name, nonce, peer, its_nonce)
        self._say([proof(secret, "connector", name, nonce, peer, its_nonce)])
        self._hear()
        return peer

    def _say(self, message: list) -> None:
        data = msgpack.packb(message)
        self._socket.sendall(b"FLH1" + struct.pack("<H", len(data)) + data)

    def _hear(self) -> list:
        magic, length = struct.unpack("<4sH", self._take(6))
        assert magic == b"FLH1"
        message = msgpack.unpackb(self._take(length))
        if message and message[0] in ("name", "proof") and len(message) == 2:
            raise FailedError(*message)
        return message

    def _take(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise LinkEndedError("the socket was closed")
        return data

    def _read(self) -> None:
        try:
            while True:
                self.frames.put(Frame.read(self._take))
        except (LinkEndedError, OSError) as error:
            self.frames.put(error)
