"""Links between two cells of one process.

Bodies are copied once, because the sender may change its arrays and the receiver may change what it got: into the
buffer that the receiver has provided, or else into new memory. Raw ``bytes`` are immutable and handed over uncopied.
"""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

from flare_transport.address import Address, speaks_for
from flare_transport.errors import AddressError, AuthenticationError, PeerLostError, UnreachableError
from flare_transport.frame_reader import Receiver
from flare_transport.frames import PREFIX, Buffer, Frame, unpack_header
from flare_transport.links.base import Identity, LinkOwner, OnEnd, Reservation, ThreadLink

__all__ = ["InprocLink", "InprocListener", "connect", "listen"]

_MAX_BYTES = 1 << 24
_MAX_FRAMES = 1 << 12
_LENGTHS = 5  # index of the field in a header

_Frame: TypeAlias = tuple[list[Any], Buffer, int]  # header, body, size of both in bytes

_listeners: dict[str, InprocListener] = {}
_listeners_lock = threading.Lock()


def listen(address: Address, owner: LinkOwner, identity: Identity) -> InprocListener:
    """Listen at a name, which must be free in this process."""
    return InprocListener(address, owner)


def connect(address: Address, owner: LinkOwner, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a name.

    Raises:
        UnreachableError: no cell listens there, or one of the two cells refuses the link.
        AuthenticationError: a cell other than ``peer`` listens there.
    """
    with _listeners_lock:
        listener = _listeners.get(address.target)
    if listener is None:
        raise UnreachableError(f"{owner.name} cannot connect to {address}: no cell of this process listens there")
    found = listener.owner.name
    if peer is not None and not speaks_for(peer, found):
        raise AuthenticationError(f"{owner.name} cannot connect to {address}: {found} listens there, expected {peer}")
    here, there = InprocLink.pair(owner.name, found)
    try:
        with Reservation(owner) as ours, Reservation(listener.owner) as theirs:
            ours.take(found)
            theirs.take(owner.name)
            # The listener's end first: the connector may send as soon as its own end is admitted.
            theirs.admit(there)
            ours.admit(here)
    except UnreachableError as error:
        here.close()
        raise UnreachableError(f"{owner.name} cannot connect to {address}: {error}") from error
    return found


class InprocListener:
    """A name in this process that a cell can be reached at.

    Raises:
        AddressError: another cell has it.
    """

    def __init__(self, address: Address, owner: LinkOwner) -> None:
        self.address = address
        self.owner = owner
        with _listeners_lock:
            if address.target in _listeners:
                raise AddressError(
                    f"cannot listen at {address}: another cell of this process does; choose another name"
                )
            _listeners[address.target] = self

    def close(self) -> None:
        """Free the name."""
        with _listeners_lock:
            if _listeners.get(self.address.target) is self:
                del _listeners[self.address.target]


class InprocLink(ThreadLink):
    """One end of a link; made by :meth:`pair`."""

    def __init__(self, peer: str, *, outgoing: _FrameQueue, incoming: _FrameQueue) -> None:
        super().__init__(peer)
        self._outgoing = outgoing
        self._incoming = incoming

    @classmethod
    def pair(cls, name: str, other: str) -> tuple[InprocLink, InprocLink]:
        """Make a link between two cells; return the end for the cell ``name``, then the end for ``other``."""
        to_other, to_name = _FrameQueue(other), _FrameQueue(name)
        return cls(other, outgoing=to_other, incoming=to_name), cls(name, outgoing=to_name, incoming=to_other)

    def start(self, receiver: Receiver, on_end: OnEnd) -> None:
        self._incoming.receiver = receiver
        super().start(receiver, on_end)

    def run(self, receiver: Receiver) -> None:
        while (frames := self._incoming.take()) is not None:
            for header, body, size in frames:
                self.bytes_received += size
                receiver.deliver(header, body)
            if receiver.congested:
                receiver.wait_until_clear()

    def send(self, frame: Frame) -> None:
        self.bytes_sent += self._outgoing.put(frame.buffers)

    def close(self) -> None:
        self._outgoing.end()
        self._incoming.end()

    def release(self) -> None:
        self._incoming.wait_for_sender()


class _FrameQueue:
    """A bounded, ordered queue of frames for one cell; a fast sender waits for a slow receiver."""

    def __init__(self, to: str) -> None:
        self._to = to
        self.receiver: Receiver | None = None
        self._sending = threading.Lock()  # held from the copy of a body to its place in the queue, to keep the order
        self._changed = threading.Condition()  # of its own, so that the receiver can take frames during a long copy
        self._frames: list[_Frame] = []
        self._bytes = 0
        self._ended = False

    def put(self, buffers: list[Buffer]) -> int:
        """Add a frame; return its size in bytes."""
        header = unpack_header(memoryview(buffers[0])[PREFIX.size :])
        size = sum(map(len, buffers))
        with self._sending:
            if self._ended:
                raise PeerLostError(f"the link to {self._to} has ended")
            body = self._copy(header, buffers[1:], size - len(buffers[0]))
            with self._changed:
                while (self._bytes >= _MAX_BYTES or len(self._frames) >= _MAX_FRAMES) and not self._ended:
                    self._changed.wait()
                if self._ended:
                    raise PeerLostError(f"the link to {self._to} has ended")
                self._frames.append((header, body, size))
                self._bytes += size
                self._changed.notify()
        return size

    def take(self) -> list[_Frame] | None:
        """Wait for frames and return all of them; None at the end."""
        with self._changed:
            while not self._frames:
                if self._ended:
                    return None
                self._changed.wait()
            frames, self._frames, self._bytes = self._frames, [], 0
            self._changed.notify()
        return frames

    def end(self) -> None:
        """Refuse further frames."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for_sender(self) -> None:
        """Wait, after the end, for a thread that may still be writing to the receiver's memory."""
        with self._sending:
            pass

    def _copy(self, header: list[Any], body: list[Buffer], size: int) -> Buffer:
        """Return a body that the receiver may keep and change."""
        target = self.receiver.destination(header, size) if self.receiver is not None and size else None
        if target is None:
            constant = len(body) == 1 and header[_LENGTHS] is None and _is_constant(body[0])
            return body[0] if constant else bytearray().join(body)
        start = 0
        for part in body:
            target[start : start + len(part)] = part
            start += len(part)
        return target


def _is_constant(buffer: Buffer) -> bool:
    return isinstance(buffer.obj if isinstance(buffer, memoryview) else buffer, bytes)
