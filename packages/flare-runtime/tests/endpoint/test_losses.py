"""The loss of a cell and the arrival of its successor, in any order in which they can become known."""

from __future__ import annotations

import pytest

from flare_core import PartyError
from flare_transport import Cell, SocketLink

S = 60.0
SITES = {"site-1": "site-1", "site-2": "site-2"}


@pytest.fixture
def parties(job):
    """Two sites of a deployed job: each is served by a cell below its name."""
    made = job(SITES, can_leave=True)
    made.server.open()
    for site in SITES:
        made.host(f"{site}.first", [site]).open()
        made[site].handle("who", lambda sender, data, site=site: f"{site}.first")
    return made


def returned(job, name: str, site: str) -> None:
    """Start another process of a site."""
    again = job.host(name, [site])
    job[site].handle("who", lambda sender, data: name)
    again.open()


def test_a_late_note_that_a_site_is_absent_does_not_cut_it_off(parties):
    """The daemon's note "it is not connected" may be read after the site's process has joined."""
    parties.server.leave("site-2", "its connection ended")
    assert parties["site-2"].request("site-1", "who", timeout_s=S) == "site-1.first"
    assert parties["site-1"].request("site-2", "who", timeout_s=S) == "site-2.first"


def test_a_late_note_of_a_former_process_does_not_cut_its_successor_off(parties):
    returned(parties, "site-2.second", "site-2")
    parties.server.leave("site-2.first", "its process was killed by SIGKILL")
    assert parties["site-2"].request("site-1", "who", timeout_s=S) == "site-1.first"
    assert parties["server"].request("site-2", "who", timeout_s=S) == "site-2.second"


def test_the_process_that_arrived_last_serves_a_site_whichever_joins_last(job):
    made = job(SITES, can_leave=True)
    made.server.open()
    former = made.cell("site-2.first")
    former.send("server", "endpoint.here", [])
    returned(made, "site-2.second", "site-2")
    former.request("server", "endpoint.join", [["site-2"]], timeout_s=S)
    former.send("server", "endpoint.ready", [["site-2"]])
    former.request("server", "endpoint.join", [["site-2"]], timeout_s=S)  # so that the message above has been handled
    assert made["server"].request("site-2", "who", timeout_s=S) == "site-2.second"
    former.close()


def test_a_process_that_is_lost_before_it_joins_does_not_serve(job):
    """Its request may wait until the server knows its job, and be read after its loss and its successor's arrival."""
    made = job(SITES, can_leave=True)
    made.server.open()
    former = made.cell("site-2.first")
    former.send("server", "endpoint.here", [])
    former.request("server", "endpoint.join", [[]], timeout_s=S)  # so that it has arrived
    made.server.leave("site-2.first", "its process was killed by SIGKILL")
    former.request("server", "endpoint.join", [["site-2"]], timeout_s=S)
    assert made.server.directory.get("site-2").cell is None
    returned(made, "site-2.second", "site-2")
    assert made["server"].request("site-2", "who", timeout_s=S) == "site-2.second"
    former.close()


def test_a_process_that_is_not_ready_cannot_be_reached_because_its_predecessor_was(job):
    made = job(SITES, can_leave=True)
    made.server.open()
    former = made.host("site-2.first", ["site-2"])
    made.host("site-2.second", ["site-2"])
    former.open()
    former.cell.request("server", "endpoint.join", [["site-2"]], timeout_s=S)
    with pytest.raises(TimeoutError):
        made["server"].request("site-2", "who", timeout_s=0.05)


def ward_behind_a_relay(job, name: str) -> tuple[SocketLink, Cell, Cell]:
    """Connect a relay, and through it a process of its ward, which joins; return the server's link and both cells."""
    relay, ward = Cell("hospital", forwards=lambda sender, to: True), Cell(name)
    links = []
    for above, below in ((job.server.cell, relay), (relay, ward)):
        here, there = SocketLink.pair(above.name, below.name)
        above.attach(here)
        below.attach(there, uplink=True)
        links.append(here)
    ward.send("server", "endpoint.here", [])
    ward.request("server", "endpoint.join", [["hospital.ward"]], timeout_s=S)
    return links[0], relay, ward


def test_the_loss_of_a_relay_spares_a_site_that_has_returned_through_it(job):
    """The relay's name is the same before and after, so only the order of arrival tells which cells were lost."""
    made = job({"hospital.ward": "hospital.ward"}, can_leave=True)
    link, relay, ward = ward_behind_a_relay(made, "hospital.ward.first")
    ward.close()
    relay.close()
    link.join()  # its end has been handled completely, and the relay's name is free
    _, *again = ward_behind_a_relay(made, "hospital.ward.second")
    made.server.leave("hospital", "its connection ended")
    assert made.server.directory.get("hospital.ward").cell == "hospital.ward.second"
    for cell in reversed(again):
        cell.close()


def test_a_cell_that_takes_no_part_is_not_told_where_a_party_is(parties):
    stranger = parties.cell("site-3.first")
    stranger.send("server", "endpoint.where", ["site-1"])
    with pytest.raises(PartyError):
        parties["server"].request("site-3", "who", timeout_s=S)
    stranger.close()
