"""Interfaces of links and listeners, and what the code that makes links knows of their cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast

from flare_core.extensions import find, load
from flare_transport.address import Address
from flare_transport.authentication import Credentials
from flare_transport.frame_reader import Receiver
from flare_transport.frames import Frame

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


@dataclass(frozen=True, slots=True)
class Identity:
    """Proof of a cell's name: a shared secret or a certificate, depending on the kind of link."""

    secret: bytes | None = field(default=None, repr=False)
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class LinkOwner:
    """The cell, as seen by the code that makes links for it.

    Attributes:
        name: name of the cell.
        reconnect_grace_s: time that a link may be without a connection before it ends, in seconds.
        admits: check of authenticated peers; None admits all.
        reserve: reserves a peer's name for the link that is being made; raises UnreachableError if the name is in use,
            or the cell is closed.
        release: cancels the reservation of a name, as no link was made.
        admit: starts a link whose peer's name is reserved, which ends the reservation even on failure; raises
            UnreachableError if the cell is closed.
    """

    name: str
    reconnect_grace_s: float
    admits: Admits | None
    reserve: Callable[[str], None]
    release: Callable[[str], None]
    admit: Callable[[Link], None]


class Reservation:
    """A reserved peer name, as a context manager: released at the end of the block unless a link was admitted.

    Without it, two handshakes that run at the same time could both make a link to the same peer.
    """

    def __init__(self, owner: LinkOwner) -> None:
        self._owner = owner
        self._peer: str | None = None

    def take(self, peer: str) -> None:
        """Reserve the name; see :class:`LinkOwner`."""
        self._owner.reserve(peer)
        self._peer = peer

    def admit(self, link: Link) -> None:
        """Start the link; see :class:`LinkOwner`."""
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


def scheme(address: Address) -> Scheme:
    """Return the module that listens at and connects to such an address.

    Raises:
        ExtensionError: it cannot be imported.
    """
    return cast("Scheme", load(find("flare.links", address.scheme)))
