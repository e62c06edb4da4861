"""Frames out of bytes: who takes them, and what puts them together."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from flare_transport.errors import ProtocolError
from flare_transport.frames import MAGIC, MAX_HEADER_BYTES, PREFIX, PROMPT_BYTES, Buffer, unpack_header

__all__ = ["FrameReader", "Receiver"]

MAX_MESSAGE_BYTES = 1 << 30  # larger bodies go where a receiver has prepared a place for them
READ_BYTES = 1 << 18
_MAX_START_BYTES = PREFIX.size + MAX_HEADER_BYTES


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
            self._start = self._cut(self._buffer, self._start, self._end)
            return
        self._filled += count
        if self._filled == len(self._body):
            header, body = self._header, self._body
            self._header, self._body = None, memoryview(b"")
            self._receiver.deliver(header, body)

    def feed(self, data: memoryview, start: int = 0) -> None:
        """Take bytes that lie elsewhere, from ``start`` on; raises as :meth:`took`."""
        if self._header is None and self._start == self._end:
            start = self._cut(data, start, len(data))  # most often all of it
        while start < len(data):
            room = self.room
            count = min(len(room), len(data) - start)
            _copy(room, data[start : start + count])
            start += count
            self.took(count)

    def end(self) -> None:
        """Take note that no more bytes will come.

        Raises:
            ProtocolError: a frame has begun.
        """
        if self._header is not None or self._start != self._end:
            raise ProtocolError("the link ended within a frame")

    def _cut(self, data: memoryview, start: int, end: int) -> int:
        """Deliver the frames that ``data`` holds from ``start`` to ``end``; return where what is left begins.

        That is the beginning of a frame's header, or nothing: of a body, what there is was put where the rest will go.
        """
        while end - start >= PREFIX.size:
            magic, header_size, body_size = PREFIX.unpack_from(data, start)
            if magic != MAGIC:
                found = bytes(data[start : start + PREFIX.size])
                raise ProtocolError(f"the peer does not speak this protocol: it sent {found!r}")
            if header_size > MAX_HEADER_BYTES:
                raise ProtocolError(
                    f"a header of {header_size} bytes is longer than the {MAX_HEADER_BYTES} that are allowed"
                )
            body_start = start + PREFIX.size + header_size
            if body_start > end:
                break
            header = unpack_header(data[start + PREFIX.size : body_start])
            start = min(body_start + body_size, end)
            self._take(header, body_size, data[body_start:start])
        return start

    def _take(self, header: list[Any], size: int, at_hand: memoryview) -> None:
        """Deliver a frame, or prepare for the rest of its body."""
        target = self._receiver.destination(header, size) if size else None
        if target is None and size <= PROMPT_BYTES and len(at_hand) == size:
            self._receiver.deliver(header, bytearray(at_hand))
            return
        if target is None:
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(
                    f"a message of {size} bytes is longer than the {MAX_MESSAGE_BYTES} that are allowed"
                )
            target = _new_body(size)
        _copy(target, at_hand)
        if len(at_hand) == size:
            self._receiver.deliver(header, target)
        else:
            self._header, self._body, self._filled = header, target, len(at_hand)


def _copy(target: memoryview, source: memoryview) -> None:
    """Copy bytes to the beginning of ``target``."""
    count = len(source)
    if count <= PROMPT_BYTES:
        target[:count] = source
    else:  # lets other threads run meanwhile
        np.copyto(np.frombuffer(target, np.uint8, count), np.frombuffer(source, np.uint8))


def _new_body(size: int) -> memoryview:
    """Return memory that is not cleared, and not taken from the system either before something is written to it."""
    return np.empty(size, np.uint8).data
