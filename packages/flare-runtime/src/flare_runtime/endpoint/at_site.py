"""The hub of a process that serves sites, which learns from the server where the other parties are.

Topics between a site's cell and that of the server's part of the job:

    endpoint.join   [sites]  (request) -> all parties; this cell serves these sites
    endpoint.ready  [sites]  their services have started
    endpoint.where  [party]  tell this cell where a party is, now and whenever it changes
    endpoint.at     [party, version, cell or nil, is open, why it is gone for good, or "", reason of the change]
"""

from __future__ import annotations

from collections.abc import Sequence

from flare_core import PartyError
from flare_runtime.endpoint.directory import Place
from flare_runtime.endpoint.hub import Hub
from flare_transport import Cell, Message, TransportError

__all__ = ["SiteHub"]


class SiteHub(Hub):
    """Connects the sites of one process with the other parties; made before its cell has links.

    Args:
        cell: of the process.
        server: the cell of the server's part of the job.
        sites: that the process serves.
    """

    def __init__(self, cell: Cell, server: str, sites: Sequence[str]) -> None:
        super().__init__(cell, self._ask_server)
        self._server = server
        self._sites = list(sites)
        for site in sites:
            self.endpoint(site)
        cell.handle("endpoint.at", self._on_at, inline=True)  # so that it is known before what comes after it
        cell.on_peer_lost(self._peer_lost)

    def join(self) -> None:
        """Tell the server which sites are served here, and learn which parties there are."""
        self.directory.parties = tuple(self.cell.request(self._server, "endpoint.join", [self._sites]).payload)

    def open(self) -> None:
        """Let the other parties reach the sites: their services have started."""
        self.cell.send(self._server, "endpoint.ready", [self._sites])

    def _ask_server(self, party: str) -> None:
        try:
            self.cell.send(self._server, "endpoint.where", [party])
        except TransportError as error:
            self.directory.forget(party)
            raise PartyError(f"{party} cannot be found, as the server is gone: {error}", party=party) from error

    def _on_at(self, message: Message) -> None:
        if message.sender != self._server:
            raise PartyError(f"{message.sender} may not say where a party is", party=message.sender)
        party, version, cell, is_open, gone, reason = message.payload
        self.directory.put(party, Place(version, cell, is_open, gone), reason)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        lost = self.directory.at(peer)
        self.fail_below(peer, f"its connection ended ({error or 'closed'})")
        for party in lost:
            self.directory.forget(party)
