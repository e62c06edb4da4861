"""Links of a cell: one per peer, the route to each cell, and the names reserved by handshakes in progress."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flare_transport.errors import NameTakenError, UnreachableError
from flare_transport.links.base import Link


class LinkTable:
    """Routing table of a cell.

    Attributes:
        by_peer: links by name of the peer; may be read without a lock, and is changed only by this class.
        uplink: the peer whose link is the default route.
        closed: whether further links are refused.
        ended_bytes: bytes sent and received over links that have ended.
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
        """Return the link that leads to a cell: its own, else that of the nearest cell above it, else the uplink.

        Raises:
            UnreachableError: there is none.
        """
        link = self.by_peer.get(to)  # no lock, as a lookup in a dictionary is atomic
        if link is not None:
            return link
        above = to
        while (above := above.rpartition(".")[0]) and above != self._name:
            link = self.by_peer.get(above)
            if link is not None:
                return link
        # A name below this cell's own is not looked for upwards: its frames would come back here.
        if above != self._name and self.uplink is not None and to != self._name:
            link = self.by_peer.get(self.uplink)
            if link is not None:
                return link
        known = ", ".join(self.by_peer.copy()) or "none"
        raise UnreachableError(f"{self._name} has no link to {to!r} (links: {known})")

    def reserve(self, peer: str) -> None:
        """Reserve a name for a link that is being made.

        Raises:
            UnreachableError: the table is closed, or the name is in use.
        """
        with self._lock:
            self._check(peer)
            self._reserved.add(peer)

    def release(self, peer: str) -> None:
        """Cancel the reservation of a name."""
        with self._lock:
            self._reserved.discard(peer)

    def add(self, link: Link, start: Callable[[Link], None], *, reserved: bool) -> None:
        """Add a link and start it.

        Raises:
            UnreachableError: the table is closed, or the peer's name is in use.
        """
        with self._lock:  # held while the link starts, so that close() returns only links that can be joined
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
        """Remove a link that has ended from the routes; :meth:`close` still returns it until :meth:`forget`."""
        with self._lock:
            if self.by_peer.get(link.peer) is link:
                del self.by_peer[link.peer]
                self._ending.add(link)
                sent, received = self.ended_bytes
                self.ended_bytes = (sent + link.bytes_sent, received + link.bytes_received)

    def forget(self, link: Link) -> None:
        """Remove a link whose end has been handled completely."""
        with self._lock:
            self._ending.discard(link)

    def close(self) -> list[Link]:
        """Refuse further links; return those whose threads may still run."""
        with self._lock:
            self.closed = True
            return [*self.by_peer.values(), *self._ending]

    def _check(self, peer: str) -> None:
        if self.closed:
            raise UnreachableError(f"the cell {self._name} is closed")
        if peer == self._name:
            raise UnreachableError(f"{peer} is this cell's own name; names are unique")
        # Others must learn of the end of a former link before anything arrives over its successor.
        if any(each.peer == peer for each in self._ending):
            raise NameTakenError(f"{self._name} is still handling the end of its former link to {peer}; connect again")
        if peer in self.by_peer or peer in self._reserved:
            raise NameTakenError(f"{self._name} already has a link to {peer}; names are unique")
