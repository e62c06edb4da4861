"""The links of a cell: one for each peer, which of them leads where, and names kept for links that are being made."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flare_transport.errors import NameTakenError, UnreachableError
from flare_transport.links.base import Link

__all__ = ["LinkTable"]


class LinkTable:
    """Which peer is reached over which link.

    Attributes:
        by_peer: read it, without a lock; only this class changes it.
        uplink: the peer whose link leads to all cells that no other link leads to.
        ended_bytes: sent and received over the links that have ended.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._reserved: set[str] = set()
        self._ending: set[Link] = set()
        self.by_peer: dict[str, Link] = {}
        self.uplink: str | None = None
        self.closed = False
        self.ended_bytes = (0, 0)

    def route(self, to: str) -> Link:
        """Return the link that leads to a cell: its own, one to a cell above it, or the link upwards.

        Raises:
            UnreachableError: none does.
        """
        link = self.by_peer.get(to)
        if link is not None:
            return link
        above = to
        while (above := above.rpartition(".")[0]) and above != self._name:
            link = self.by_peer.get(above)
            if link is not None:
                return link
        if above != self._name and self.uplink is not None and to != self._name:
            link = self.by_peer.get(self.uplink)
            if link is not None:
                return link
        known = ", ".join(self.by_peer.copy()) or "none"
        raise UnreachableError(f"{self._name} has no link to {to!r} (links: {known})")

    def reserve(self, peer: str) -> None:
        """Keep a name for a link that is being made.

        Raises:
            UnreachableError: the table is closed, or the name in use.
        """
        with self._lock:
            self._check(peer)
            self._reserved.add(peer)

    def release(self, peer: str) -> None:
        """Give a name back that was reserved."""
        with self._lock:
            self._reserved.discard(peer)

    def add(self, link: Link, start: Callable[[Link], None], *, reserved: bool) -> None:
        """Take a link in and start it.

        Raises:
            UnreachableError: the table is closed, or the peer's name in use.
        """
        with self._lock:  # held over the start, so that whoever closes the table finds links which can be joined
            if reserved:
                self._reserved.discard(link.peer)
            self._check(link.peer)
            self.by_peer[link.peer] = link
            try:
                start(link)
            except BaseException:
                del self.by_peer[link.peer]
                raise

    def remove(self, link: Link) -> None:
        """Let go of a link that has ended, except for :meth:`close`, until it is forgotten."""
        with self._lock:
            if self.by_peer.get(link.peer) is link:
                del self.by_peer[link.peer]
                self._ending.add(link)
                sent, received = self.ended_bytes
                self.ended_bytes = (sent + link.bytes_sent, received + link.bytes_received)

    def forget(self, link: Link) -> None:
        """Let go of a removed link altogether."""
        with self._lock:
            self._ending.discard(link)

    def close(self) -> list[Link]:
        """Take no more links; return those that have a thread."""
        with self._lock:
            self.closed = True
            return [*self.by_peer.values(), *self._ending]

    def _check(self, peer: str) -> None:
        if self.closed:
            raise UnreachableError(f"the cell {self._name} is closed")
        if peer == self._name:
            raise UnreachableError(f"{peer} is this cell's own name; a name belongs to one cell")
        if peer in self.by_peer or peer in self._reserved:
            raise NameTakenError(f"{self._name} has a link to {peer} already; a name belongs to one cell")
