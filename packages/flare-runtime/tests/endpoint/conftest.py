from __future__ import annotations

import socket

import pytest

from flare_runtime.endpoint.at_server import ServerHub
from flare_runtime.endpoint.at_site import SiteHub
from flare_runtime.run.roster import Roster
from flare_transport import Cell, SocketLink


class Job:
    """The parties of a job in cells that are linked by socket pairs, as in a simulation.

    Args:
        hosts: by site, the cell that serves it.
        can_leave: whether sites that are lost may come back, through cells below their names.
    """

    def __init__(self, hosts: dict[str, str], *, can_leave: bool = False) -> None:
        self.hosts = hosts
        roster = Roster(hosts, can_leave=can_leave)
        self.server = ServerHub(Cell("server", forwards=lambda sender, to: True))
        self.server.begin(roster.sites, roster.may_serve, can_leave=can_leave)
        self.hubs: dict[str, SiteHub] = {}
        self.closing: list[SiteHub | ServerHub] = [self.server]

    def cell(self, name: str) -> Cell:
        """Return a cell that is linked to the server."""
        ours, theirs = socket.socketpair()
        cell = Cell(name)
        self.server.cell.attach(SocketLink(name, ours))
        cell.attach(SocketLink("server", theirs), uplink=True)
        return cell

    def host(self, name: str, sites: list[str]) -> SiteHub:
        """Start the hub of some sites, which cannot be reached yet."""
        ours, theirs = socket.socketpair()
        hub = SiteHub(Cell(name), "server", sites)
        self.server.cell.attach(SocketLink(name, ours))
        hub.cell.attach(SocketLink("server", theirs), uplink=True)
        hub.join()
        self.closing.append(hub)
        self.hubs.update(dict.fromkeys(sites, hub))
        return hub

    def begin(self) -> Job:
        """Start all sites, and make all parties reachable."""
        self.server.open()
        for name in dict.fromkeys(self.hosts.values()):
            self.host(name, [site for site, host in self.hosts.items() if host == name]).open()
        return self

    def __getitem__(self, party: str):
        return (self.hubs.get(party) or self.server).endpoint(party)

    def close(self) -> None:
        for hub in reversed(self.closing):
            hub.close("the test is over")
            hub.cell.close()


@pytest.fixture
def job():
    made = []

    def make(hosts: dict[str, str] | None = None, **options) -> Job:
        made.append(Job(hosts or {"site-1": "worker-1", "site-2": "worker-2"}, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(params=["own processes", "one process"])
def two_sites(request, job):
    """Two sites and the server, all reachable; the sites share a cell or do not."""
    second = "worker-2" if request.param == "own processes" else "worker-1"
    return job({"site-1": "worker-1", "site-2": second}).begin()
