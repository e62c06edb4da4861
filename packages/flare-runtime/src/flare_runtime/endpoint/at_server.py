"""ServerHub: the server's hub, which tells the sites of a job where each party is.

:mod:`flare_runtime.endpoint.at_site` lists its topics.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flare_core import PartyError
from flare_runtime.endpoint.directory import SERVER, Place
from flare_runtime.endpoint.hub import Hub
from flare_transport import Cell, Message, TransportError, blocking
from flare_transport.address import speaks_for

logger = logging.getLogger(__name__)


class ServerHub(Hub):
    """Connects the server with the sites of a job, and tells each site where the others are.

    It is created before its cell has links; requests that arrive before :meth:`begin` are answered after it.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__(cell, lambda party: None)  # there is nobody to ask: this hub knows all parties
        self._has_begun = threading.Event()
        self._may_serve: Callable[[str, str], bool]
        self._can_leave = False
        self._watchers: dict[str, set[str]] = defaultdict(set)  # by party, the cells that are notified of changes
        self._watching = threading.Lock()
        self._counter = itertools.count(1)
        self._arrived: dict[str, int] = {}  # the cells of sites that are connected, numbered in the order of arrival
        self.endpoint(SERVER)
        cell.handle("endpoint.here", self._on_here, inline=True)
        cell.handle("endpoint.join", self._on_join)
        cell.handle("endpoint.ready", self._on_ready)
        cell.handle("endpoint.where", self._on_where)
        cell.on_peer_lost(self._peer_lost, inline=True)

    def begin(self, sites: Sequence[str], may_serve: Callable[[str, str], bool], *, can_leave: bool) -> None:
        """Set the parties of the job.

        Args:
            sites: the sites, in their order.
            may_serve: returns True if a cell may announce that it serves a site.
            can_leave: a lost site may come back.
        """
        self._may_serve = may_serve
        self._can_leave = can_leave
        for party in (SERVER, *sites):
            self.directory.put(party, Place(0, self.cell.name if party == SERVER else None))
        self.directory.parties = (SERVER, *sites)
        self._has_begun.set()

    def open(self) -> None:
        """Make the server reachable, after its services have started."""
        self._change([SERVER], is_open=True)

    def leave(self, cell: str, reason: str) -> None:
        """Handle the loss of one cell; thread-safe."""
        self._leave([cell], reason)

    def remove(self, site: str, reason: str) -> None:
        """Mark a site as gone for good; thread-safe."""
        if site in self.directory.parties:
            self._change_elsewhere([site], reason, cell=None, is_open=False, gone=reason)

    def close(self, reason: str) -> None:
        self._has_begun.set()
        super().close(reason)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        """Handle the loss of a cell and of all cells below it that have arrived so far."""
        cells = [cell for cell in self._arrived.copy() if speaks_for(peer, cell)]
        self._leave(cells, f"its connection ended ({error or 'closed'})")

    def _leave(self, cells: Sequence[str], reason: str) -> None:
        with self._watching:
            for cell in cells:
                self._arrived.pop(cell, None)
            for watchers in self._watchers.values():
                watchers.difference_update(cells)
        gone = {} if self._can_leave else {"gone": reason}
        for cell in cells:
            lost = [party for party in self.directory.served_by(cell) if party != SERVER]
            if lost:
                is_there = partial(_is_at, cell)
                self._change_elsewhere(lost, reason, only_if=is_there, cell=None, is_open=False, **gone)

    def _on_here(self, message: Message) -> None:
        """Number a cell before anything can follow that concerns it, be it its loss or the arrival of its successor."""
        self._arrived[message.sender] = next(self._counter)

    def _on_join(self, message: Message) -> list[str]:
        may_serve = partial(self._is_newest, message.sender)
        self._change(self._own_sites(message), only_if=may_serve, cell=message.sender, is_open=False)
        return list(self.directory.parties)

    def _is_newest(self, cell: str, place: Place) -> bool:
        """Return False if a cell that wants to serve a party is lost, or the one that serves it has arrived later."""
        return self._arrived.get(cell, -1) >= self._arrived.get(place.cell or "", 0)

    def _on_ready(self, message: Message) -> None:
        self._change(self._own_sites(message), only_if=partial(_is_at, message.sender), is_open=True)

    def _on_where(self, message: Message) -> None:
        (party,) = message.payload
        if party not in self.directory.parties or not self.directory.at(message.sender):
            raise PartyError(f"{message.sender} takes no part in this job, or {party!r} does not", party=str(party))
        with self._watching:
            self._watchers[party].add(message.sender)
        self._tell(party, [message.sender])

    def _own_sites(self, message: Message) -> list[str]:
        """Return the sites that a cell announces.

        Raises:
            PartyError: the cell may not serve one of them.
        """
        with blocking():
            self._has_begun.wait()
        (sites,) = message.payload
        for site in sites:
            if site not in self.directory.parties or not self._may_serve(message.sender, site):
                raise PartyError(f"{message.sender} spoke for {site}, which it does not serve", party=str(site))
        return list(sites)

    def _change_elsewhere(self, parties: Sequence[str], reason: str, **changes: Any) -> None:
        """Change places on a new thread, since a link's thread must not send."""
        threading.Thread(
            target=self._change, args=(parties, reason), kwargs=changes, name="flare-parties", daemon=True
        ).start()

    def _change(
        self,
        parties: Sequence[str],
        reason: str = "",
        *,
        only_if: Callable[[Place], bool] = lambda place: True,
        **changes: Any,
    ) -> None:
        """Change the places of parties, and notify the cells that asked.

        Args:
            parties: the parties.
            reason: why, for the errors of those who wait for them.
            only_if: whether to change a party, given its present place.
            changes: the fields to change.
        """
        for party in parties:
            with self._watching:
                place = self.directory.get(party)
                if place is None or place.gone or not only_if(place):
                    continue
                self.directory.put(party, replace(place, version=place.version + 1, **changes), reason)
                watchers = list(self._watchers[party])
            self._tell(party, watchers, reason)

    def _tell(self, party: str, watchers: Sequence[str], reason: str = "") -> None:
        place = self.directory.get(party)
        assert place is not None
        for watcher in watchers:
            try:
                where = [party, place.version, place.cell, place.is_open, place.gone, reason]
                self.cell.send(watcher, "endpoint.at", where)
            except TransportError as error:
                logger.info("place not sent party=%s watcher=%s reason=%s", party, watcher, error)


def _is_at(cell: str, place: Place) -> bool:
    return place.cell == cell
