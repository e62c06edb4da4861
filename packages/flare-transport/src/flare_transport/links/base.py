"""Interfaces of links and listeners, and the base class of links that have a thread of their own."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from flare_transport.address import Address
from flare_transport.authentication import Credentials
from flare_transport.errors import PeerLostError, ProtocolError
from flare_transport.frame_reader import Receiver
from flare_transport.frames import Frame

__all__ = ["HANDSHAKE_S", "Identity", "Link", "LinkOwner", "Listener", "OnEnd", "Reservation", "Scheme", "ThreadLink"]

logger = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
"""Time that a listener gives a connector to prove its name, in seconds."""


class Link(ABC):
    """A channel of frames to and from one peer.

    Every frame arrives at most once. Prompt frames keep their order, and so do bulk frames; a prompt frame may overtake
    bulk frames.

    Attributes:
        peer: the authenticated name of the cell at the other end.
        bytes_sent, bytes_received: traffic of the link so far, headers included.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.bytes_sent = 0
        self.bytes_received = 0

    @abstractmethod
    def start(self, receiver: Receiver, on_end: OnEnd) -> None:
        """Start to deliver frames; after the last of them call ``on_end`` once, with the error that ended the link."""

    @abstractmethod
    def send(self, frame: Frame) -> None:
        """Send a frame; return when its buffers may be reused. Thread-safe.

        Blocks while the queue of outgoing frames is full (backpressure), so it must not be called on the thread that
        reads a link: two peers that wait for each other to read would never continue.

        Raises:
            PeerLostError: the link has ended. Once ``on_end`` was called, every call raises this.
        """

    @abstractmethod
    def close(self) -> None:
        """End the link without waiting; frames that the peer has not read yet may be lost."""

    @abstractmethod
    def join(self) -> None:
        """Wait, after :meth:`close`, for the link's threads to end; returns at once when called on one of them."""


OnEnd: TypeAlias = Callable[[Link, BaseException | None], None]
Admits: TypeAlias = Callable[[str, bytes | None], str | None]
"""Maps a connector's authenticated name and its certificate (PEM), if any, to a reason for refusal, or None."""


class ThreadLink(Link):
    """A link that delivers frames from a thread of its own."""

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run(self, receiver: Receiver) -> None:
        """Deliver frames until the link ends; raise the error that ended it, unless it was closed normally."""

    @abstractmethod
    def release(self) -> None:
        """Free the link's resources; called once, on the link's thread, after :meth:`run`."""

    def start(self, receiver: Receiver, on_end: OnEnd) -> None:
        self._thread = threading.Thread(
            target=self._serve, args=(receiver, on_end), name=f"flare-link-{self.peer}", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self, receiver: Receiver, on_end: OnEnd) -> None:
        error: BaseException | None = None
        try:
            self.run(receiver)
        except (ProtocolError, PeerLostError, OSError) as problem:  # expected: the peer misbehaves or has gone
            error = problem
        except BaseException as problem:
            logger.exception("link failed peer=%s", self.peer)
            error = problem
        try:
            # Closing first makes all later sends fail, so nothing can be started after the cell has failed what was
            # in flight.
            self.close()
            self.release()
        finally:
            on_end(self, error)


@dataclass(frozen=True, slots=True)
class Identity:
    """Proof of a cell's name: a shared secret or a certificate, depending on the kind of link."""

    secret: bytes | None = field(default=None, repr=False)
    credentials: Credentials | None = None


class LinkOwner(Protocol):
    """The cell, as seen by the code that makes links for it."""

    @property
    def name(self) -> str:
        """Name of the cell."""

    @property
    def reconnect_grace_s(self) -> float:
        """Time that a link may be without a connection before it ends, in seconds."""

    @property
    def admits(self) -> Admits | None:
        """Check of authenticated peers; None admits all."""

    def reserve(self, peer: str) -> None:
        """Reserve a peer's name for the link that is being made.

        Raises:
            UnreachableError: the name is in use, or the cell is closed.
        """

    def release(self, peer: str) -> None:
        """Cancel the reservation of a name, as no link was made."""

    def admit(self, link: Link) -> None:
        """Start a link whose peer's name is reserved. Ends the reservation even on failure.

        Raises:
            UnreachableError: the cell is closed.
        """


class Reservation:
    """A reserved peer name, as a context manager: released at the end of the block unless a link was admitted.

    Without it, two handshakes that run at the same time could both make a link to the same peer.
    """

    def __init__(self, owner: LinkOwner) -> None:
        self._owner = owner
        self._peer: str | None = None

    def take(self, peer: str) -> None:
        """Reserve the name; see :meth:`LinkOwner.reserve`."""
        self._owner.reserve(peer)
        self._peer = peer

    def admit(self, link: Link) -> None:
        """Start the link; see :meth:`LinkOwner.admit`."""
        self._peer = None
        self._owner.admit(link)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._peer is not None:
            self._owner.release(self._peer)


class Listener(Protocol):
    """Accepts connections and makes links of them."""

    @property
    def address(self) -> Address:
        """Address that peers connect to, with the actual port."""

    def close(self) -> None:
        """Stop accepting connections; return when all threads and sockets of the listener are gone."""


class Scheme(Protocol):
    """A module that implements one kind of link."""

    def listen(self, address: Address, owner: LinkOwner, identity: Identity) -> Listener:
        """Start to accept links at an address."""

    def connect(
        self, address: Address, owner: LinkOwner, identity: Identity, *, peer: str | None, timeout_s: float
    ) -> str:
        """Make a link and admit it; return the name of the peer."""
