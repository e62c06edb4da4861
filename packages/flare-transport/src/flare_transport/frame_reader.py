"""Parser of frames, and the interface of those that receive them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from flare_transport.errors import ProtocolError
from flare_transport.frames import MAGIC, MAX_HEADER_BYTES, PREFIX, PROMPT_BYTES, Buffer, unpack_header

MAX_MESSAGE_BYTES = 1 << 30  # larger bodies are accepted only into a buffer that the receiver has provided
READ_BYTES = 1 << 18
_MAX_START_BYTES = PREFIX.size + MAX_HEADER_BYTES


class Receiver(Protocol):
    """Receives the frames of a link."""

    @property
    def congested(self) -> bool:
        """True if no more should be read from the link for now (backpressure)."""

    def wait_until_clear(self) -> None:
        """Wait until the receiver is not :attr:`congested` any more."""

    def destination(self, header: list[Any], size: int) -> memoryview | None:
        """Return the buffer for a body of ``size`` bytes, or None if the receiver has provided none."""

    def deliver(self, header: list[Any], body: Buffer) -> None:
        """Process a frame; must not block, as nothing else arrives over the link until it returns."""


class FrameReader:
    """Assembles frames from bytes, wherever those are split, and delivers each when it is complete.

    Callers write bytes to :attr:`free_space` and report their number to :meth:`advance`. Small frames are parsed from a
    buffer that can hold many of them; the rest of a large body is read directly into its destination, without a copy.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._start = self._end = 0
        self._header: list[Any] | None = None  # of the frame whose body is being read
        self._body = memoryview(b"")
        self._filled = 0

    @property
    def free_space(self) -> memoryview:
        """The buffer for the next bytes; never empty."""
        if self._header is not None:
            return self._body[self._filled :]
        if self._start == self._end:
            self._start = self._end = 0
        elif (
            READ_BYTES - self._end < _MAX_START_BYTES
        ):  # move the start of an incomplete header, so that the rest of it fits
            self._buffer[: self._end - self._start] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, self._end - self._start
        return self._buffer[self._end :]

    def advance(self, count: int) -> None:
        """Process ``count`` bytes that were written to the free space; deliver the frames that they complete.

        Raises:
            ProtocolError: the bytes are not frames.
        """
        if self._header is None:
            self._end += count
            self._start = self._parse(self._buffer, self._start, self._end)
            return
        self._filled += count
        if self._filled == len(self._body):
            header, body = self._header, self._body
            self._header, self._body = None, memoryview(b"")
            self._receiver.deliver(header, body)

    def feed(self, data: memoryview, start: int = 0) -> None:
        """Process bytes from a caller's buffer, starting at ``start``; raises as :meth:`advance`."""
        if self._header is None and self._start == self._end:
            start = self._parse(data, start, len(data))  # complete small frames need no copy to the buffer
        while start < len(data):
            space = self.free_space
            count = min(len(space), len(data) - start)
            _copy(space, data[start : start + count])
            start += count
            self.advance(count)

    def end(self) -> None:
        """Check, when the stream has ended, that it did so between two frames.

        Raises:
            ProtocolError: it did not.
        """
        if self._header is not None or self._start != self._end:
            raise ProtocolError("the link ended within a frame")

    def _parse(self, data: memoryview, start: int, end: int) -> int:
        """Deliver the complete frames in ``data[start:end]``; return the offset of the rest.

        The rest is an incomplete header, or empty: an incomplete body has been copied to its destination.
        """
        while end - start >= PREFIX.size:
            magic, header_size, body_size = PREFIX.unpack_from(data, start)
            if magic != MAGIC:
                found = bytes(data[start : start + PREFIX.size])
                raise ProtocolError(f"the peer does not speak this protocol: it sent {found!r}")
            if header_size > MAX_HEADER_BYTES:
                raise ProtocolError(f"a header of {header_size} bytes is longer than the limit of {MAX_HEADER_BYTES}")
            body_start = start + PREFIX.size + header_size
            if body_start > end:
                break
            # Checked before any memory is allocated for the body.
            header = unpack_header(data[start + PREFIX.size : body_start])
            start = min(body_start + body_size, end)
            self._start_body(header, body_size, data[body_start:start])
        return start

    def _start_body(self, header: list[Any], size: int, available: memoryview) -> None:
        """Deliver a frame, or prepare to read the rest of its body."""
        target = self._receiver.destination(header, size) if size else None
        if target is None and size <= PROMPT_BYTES and len(available) == size:
            self._receiver.deliver(header, bytearray(available))
            return
        if target is None:
            if size > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"a message of {size} bytes is longer than the limit of {MAX_MESSAGE_BYTES}")
            target = _new_body(size)
        _copy(target, available)
        if len(available) == size:
            self._receiver.deliver(header, target)
        else:
            self._header, self._body, self._filled = header, target, len(available)


def _copy(target: memoryview, source: memoryview) -> None:
    """Copy bytes to the start of ``target``."""
    count = len(source)
    if count <= PROMPT_BYTES:
        target[:count] = source
    else:  # numpy releases the GIL, so other threads continue during a large copy
        np.copyto(np.frombuffer(target, np.uint8, count), np.frombuffer(source, np.uint8))


def _new_body(size: int) -> memoryview:
    """Return uninitialized memory: a peer that announces a large body costs none until it sends the bytes."""
    return np.empty(size, np.uint8).data
