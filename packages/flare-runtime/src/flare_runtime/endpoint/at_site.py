"""SiteHub: the hub of a process that serves sites, which asks the server where the other parties are.

Topics between a site's cell and the server's cell for the job:

    endpoint.here   []       this cell is about to join
    endpoint.join   [sites]  (request) -> all parties; this cell serves these sites
    endpoint.ready  [sites]  their services have started
    endpoint.where  [party]  asks for the place of a party, now and whenever it changes
    endpoint.at     [party, version, cell or nil, is open, why it is gone for good, or "", reason of the change]
"""

from __future__ import annotations

from collections.abc import Sequence

from flare_core import PartyError
from flare_runtime.endpoint.directory import Place
from flare_runtime.endpoint.hub import Hub
from flare_transport import Cell, Message, TransportError


class SiteHub(Hub):
    """Connects the sites of one process with the other parties; created before its cell has links.

    Args:
        cell: the cell of the process.
        server: the server's cell for the job.
        sites: the sites that the process serves.
    """

    def __init__(self, cell: Cell, server: str, sites: Sequence[str]) -> None:
        super().__init__(cell, self._ask_server)
        self._server = server
        self._sites = list(sites)
        for site in sites:
            self.endpoint(site)
        cell.handle("endpoint.at", self._on_at, inline=True)  # in order with what the server sends next
        cell.on_peer_lost(self._peer_lost, inline=True)

    def join(self) -> None:
        """Announce the sites that are served here, and get the names of all parties."""
        self.cell.send(self._server, "endpoint.here", [])
        self.directory.parties = tuple(self.cell.request(self._server, "endpoint.join", [self._sites]).payload)

    def open(self) -> None:
        """Make the sites reachable, after their services have started."""
        self.cell.send(self._server, "endpoint.ready", [self._sites])

    def _ask_server(self, party: str) -> None:
        try:
            self.cell.send(self._server, "endpoint.where", [party])
        except TransportError as error:
            self.directory.forget(party)
            raise PartyError(f"{party} cannot be found, since the server is lost: {error}", party=party) from error

    def _on_at(self, message: Message) -> None:
        if message.sender != self._server:
            raise PartyError(f"{message.sender} may not announce the places of parties", party=message.sender)
        party, version, cell, is_open, gone, reason = message.payload
        self.directory.put(party, Place(version, cell, is_open, gone), reason)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        lost = self.directory.at(peer)
        self.fail_below(peer, f"its connection ended ({error or 'closed'})")
        for party in lost:
            self.directory.forget(party)
