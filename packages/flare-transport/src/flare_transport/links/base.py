"""What a link is, what listens for links, and the part that all links with a thread of their own share."""

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

__all__ = ["HANDSHAKE_S", "Ended", "Identity", "Link", "Listener", "Reception", "Reservation", "Scheme", "ThreadLink"]

logger = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
"""How long a listener waits for a connector to prove its name."""


class Link(ABC):
    """Carries frames to and from one peer, each once, until it ends; the prompt ones in order, and the bulk ones.

    Attributes:
        peer: the name of the cell at the other end, as it has proved it.
        bytes_sent, bytes_received: what went over the link so far, headers included.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.bytes_sent = 0
        self.bytes_received = 0

    @abstractmethod
    def start(self, receiver: Receiver, ended: Ended) -> None:
        """Begin to deliver frames; call ``ended`` once, with what ended the link, after the last of them."""

    @abstractmethod
    def send(self, frame: Frame) -> None:
        """Send a frame; returns when its buffers may be changed. Safe from many threads.

        Waits while much is to be sent.

        Raises:
            PeerLostError: the link has ended; raised in any case once ``ended`` was called.
        """

    @abstractmethod
    def close(self) -> None:
        """End the link, without waiting; what the peer has not read yet may be lost."""

    @abstractmethod
    def join(self) -> None:
        """Wait, after :meth:`close`, until nothing of the link is left; returns at once on a thread of its own."""


Ended: TypeAlias = Callable[[Link, BaseException | None], None]
Admits: TypeAlias = Callable[[str, bytes | None], str | None]
"""Given a connector's proven name, and its certificate in PEM if it has one: why it may not link, or None."""


class ThreadLink(Link):
    """A link that one thread of its own delivers from."""

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self._thread: threading.Thread | None = None

    @abstractmethod
    def run(self, receiver: Receiver) -> None:
        """Deliver frames until the link ends; raise what ended it, if it was not closed in order."""

    @abstractmethod
    def release(self) -> None:
        """Give up what the link holds; called once, on the link's thread, when :meth:`run` is over."""

    def start(self, receiver: Receiver, ended: Ended) -> None:
        self._thread = threading.Thread(
            target=self._serve, args=(receiver, ended), name=f"flare-link-{self.peer}", daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self, receiver: Receiver, ended: Ended) -> None:
        error: BaseException | None = None
        try:
            self.run(receiver)
        except (ProtocolError, PeerLostError, OSError) as problem:
            error = problem
        except BaseException as problem:
            logger.exception("link failed peer=%s", self.peer)
            error = problem
        try:
            self.close()
            self.release()
        finally:
            ended(self, error)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a cell proves itself with, according to the kind of link."""

    secret: bytes | None = field(default=None, repr=False)
    credentials: Credentials | None = None


class Reception(Protocol):
    """A cell, as those see it who make links for it."""

    @property
    def name(self) -> str:
        """The cell's own name."""

    @property
    def reconnect_grace_s(self) -> float:
        """How long a link may be without a connection before it ends."""

    @property
    def admits(self) -> Admits | None:
        """Who may link, of those who have proved their names; None lets all."""

    def reserve(self, peer: str) -> None:
        """Keep a peer's name for the link that is being made.

        Raises:
            UnreachableError: the name is in use, or the cell is closed.
        """

    def release(self, peer: str) -> None:
        """Give a reserved name back, as there will be no link."""

    def admit(self, link: Link) -> None:
        """Use a link whose peer's name is reserved; the reservation ends in any case.

        Raises:
            UnreachableError: the cell is closed.
        """


class Reservation:
    """A peer's name that is kept from when it is taken to when a link is admitted, or to the end of the block."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._peer: str | None = None

    def take(self, peer: str) -> None:
        """Reserve the name; see :class:`Reception`."""
        self._reception.reserve(peer)
        self._peer = peer

    def admit(self, link: Link) -> None:
        """Use the link; see :class:`Reception`."""
        self._peer = None
        self._reception.admit(link)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._peer is not None:
            self._reception.release(self._peer)


class Listener(Protocol):
    """Waits for peers and makes links to them."""

    @property
    def address(self) -> Address:
        """Where it really listens."""

    def close(self) -> None:
        """Let nobody in any more; returns when nothing of the listener is left."""


class Scheme(Protocol):
    """A module that makes one kind of link."""

    def listen(self, address: Address, reception: Reception, identity: Identity) -> Listener:
        """Begin to accept links at an address."""

    def connect(
        self, address: Address, reception: Reception, identity: Identity, *, peer: str | None, timeout_s: float
    ) -> str:
        """Make a link and admit it; return the name of the peer."""
