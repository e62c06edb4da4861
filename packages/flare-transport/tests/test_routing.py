"""Cells that communicate through forwarding cells."""

from __future__ import annotations

import random
import threading
from queue import SimpleQueue

import pytest

from flare_transport import Cell, PeerLostError, Raw, RemoteError, UnreachableError
from flare_transport.frames import Kind, pack

WAIT_S = 20


class Tree:
    """A server with two sites below it, a job below one of them, and a relay with a site of its own."""

    def __init__(self, network, policy=lambda sender, to: True) -> None:
        self.network = network
        self.server = network.cell("server", forwards=policy)
        self.site_1 = self._below(self.server, "site-1")
        self.site_2 = self._below(self.server, "site-2")
        self.job = self._below(self.site_1, "site-1.job-7")
        self.relay = self._below(self.server, "hospital")
        self.ward = self._below(self.relay, "hospital.ward-3")

    def _below(self, parent: Cell, name: str) -> Cell:
        cell = self.network.cell(name)
        proof = self.network.proof(cell, parent.name)
        cell.connect(self.network.listen(parent), uplink=True, **proof)
        self.network.settle(parent, cell)
        return cell


@pytest.fixture(params=["unix", "grpc"])
def tree(request, make_network):
    return Tree(make_network(request.param))


def test_every_cell_reaches_every_other(tree):
    cells = [tree.server, tree.site_1, tree.site_2, tree.job, tree.relay, tree.ward]
    for cell in cells:
        cell.handle("who", lambda message, name=cell.name: [name, message.sender, message.payload])
    for asker in cells:
        for asked in cells:
            if asker is not asked:
                answer = asker.request(asked.name, "who", 7, timeout_s=WAIT_S).payload
                assert answer == [asked.name, asker.name, 7]


def test_large_bodies_and_streams_are_forwarded(tree):
    data = random.Random(1).randbytes(5 << 20)
    tree.ward.handle("pull", lambda message: Raw(data))
    into = bytearray(len(data))
    tree.job.request("hospital.ward-3", "pull", into=memoryview(into), timeout_s=WAIT_S)
    assert into == data
    read: SimpleQueue = SimpleQueue()
    tree.site_2.handle_stream("blob", lambda reader: read.put((reader.sender, reader.read())))
    for writer_cell in (tree.job, tree.ward):  # both use the same stream numbers
        with writer_cell.open_stream("site-2", "blob") as writer:
            writer.write(data)
        assert read.get(timeout=WAIT_S) == (writer_cell.name, data)


def test_messages_of_one_topic_keep_their_order(tree):
    seen: list[int] = []
    done = threading.Event()
    tree.ward.handle("note", lambda message: (seen.append(message.payload), message.payload == 499 and done.set()))
    for number in range(500):
        tree.job.send("hospital.ward-3", "note", number)
    assert done.wait(WAIT_S)
    assert seen == list(range(500))


def test_a_missing_route_is_reported_to_the_requester(tree):
    for name in ("site-9", "site-2.job-1", "hospital.ward-9"):
        with pytest.raises(PeerLostError, match=name):
            tree.job.request(name, "who", timeout_s=WAIT_S)
        with pytest.raises(PeerLostError, match=name):
            tree.job.open_stream(name, "blob").close()
    with pytest.raises(UnreachableError, match="site-1"):
        tree.site_1.request("site-1.job-8", "who", timeout_s=WAIT_S)


def test_forwarded_operations_fail_when_their_target_is_lost(tree):
    asked, go_on = threading.Event(), threading.Event()

    def wait(message):
        asked.set()
        go_on.wait(WAIT_S)

    tree.ward.handle("wait", wait)
    failed: SimpleQueue = SimpleQueue()

    def read(reader):
        try:
            reader.read()
        except PeerLostError as error:
            failed.put(error)
            raise

    tree.site_2.handle_stream("blob", read)
    pending = tree.job.start_request("hospital.ward-3", "wait")
    writer = tree.ward.open_stream("site-2", "blob")
    writer.write(b"some")
    assert asked.wait(WAIT_S)
    tree.ward.close(wait=False)
    with pytest.raises(PeerLostError, match="hospital"):
        pending.result(WAIT_S)
    assert "hospital.ward-3" in str(failed.get(timeout=WAIT_S))
    go_on.set()


def test_other_cells_communicate_only_if_the_policy_allows_it(make_network):
    tree = Tree(make_network("unix"), policy=lambda sender, to: {sender, to} == {"site-1", "site-2"})
    for cell in (tree.site_2, tree.ward, tree.server, tree.job):
        cell.handle("who", lambda message: "here")
    assert tree.site_1.request("site-2", "who", timeout_s=WAIT_S).payload == "here"
    assert tree.ward.request("server", "who", timeout_s=WAIT_S).payload == "here"
    assert tree.server.request("site-1.job-7", "who", timeout_s=WAIT_S).payload == "here"
    with pytest.raises(PeerLostError, match="does not let"):
        tree.site_1.request("hospital.ward-3", "who", timeout_s=WAIT_S)
    with pytest.raises(PeerLostError, match="does not let"):
        tree.job.request("site-2", "who", timeout_s=WAIT_S)


def test_a_direct_link_is_preferred(make_network):
    network = make_network("unix")
    tree = Tree(network, policy=None)
    tree.site_2.handle("who", lambda message: "here")
    with pytest.raises(PeerLostError):
        tree.site_1.request("site-2", "who", timeout_s=WAIT_S)
    tree.site_1.connect(network.listen(tree.site_2), **network.proof(tree.site_1))
    before = tree.server.bytes_received
    assert tree.site_1.request("site-2", "who", timeout_s=WAIT_S).payload == "here"
    assert tree.server.bytes_received == before


def test_a_cell_cannot_answer_for_another(make_network):
    """A site that guesses the number of a request cannot settle it."""
    tree = Tree(make_network("unix"))
    asked = threading.Event()

    def slow(message):
        asked.set()
        forged.wait(WAIT_S)
        return "true"

    forged = threading.Event()
    tree.site_2.handle("slow", slow)
    pending = tree.site_1.start_request("site-2", "slow")
    assert asked.wait(WAIT_S)
    (uplink,) = [tree.ward._links.by_peer["hospital"]]
    uplink.send(pack(Kind.REPLY, "site-1", "hospital.ward-3", "slow", pending.number, "forged"))
    tree.site_1.handle("pass", lambda message: None)
    tree.ward.request("site-1", "pass", timeout_s=WAIT_S)  # arrives after the forged reply
    forged.set()
    assert pending.result(WAIT_S).payload == "true"


def test_errors_are_forwarded_to_the_requester(tree):
    def fail(message):
        raise RuntimeError("no such record")

    tree.site_2.handle("fail", fail)
    with pytest.raises(RemoteError, match="no such record"):
        tree.job.request("site-2", "fail", timeout_s=WAIT_S)


def test_a_loss_is_known_before_what_arrives_later(tree):
    """An inline callback does not wait for the pool, and a new cell of that name is not taken for the lost one."""
    seen: SimpleQueue = SimpleQueue()
    go_on = threading.Event()
    tree.server.on_peer_lost(lambda peer, error: seen.put(f"{peer} lost"), inline=True)
    tree.server.on_peer_lost(lambda peer, error: go_on.wait(WAIT_S))  # on the pool, as slow as may be
    tree.server.handle("note", lambda message: seen.put(f"{message.sender} {message.payload}"), inline=True)
    tree.server.handle("pass", lambda message: None)
    tree.ward.request("server", "pass", timeout_s=WAIT_S)
    tree.ward.close()
    assert seen.get(timeout=WAIT_S) == "hospital.ward-3 lost"
    again = tree._below(tree.relay, "hospital.ward-3")
    again.send("server", "note", "is back")
    assert seen.get(timeout=WAIT_S) == "hospital.ward-3 is back"
    go_on.set()


def test_a_cell_cannot_return_before_its_loss_has_been_handled(make_network):
    network = make_network("unix")
    server, handling, go_on = network.cell("server"), threading.Event(), threading.Event()
    server.on_peer_lost(lambda peer, error: (handling.set(), go_on.wait(WAIT_S)))
    address = network.listen(server)
    first = network.cell("site-1")
    first.connect(address, **network.proof(first))
    network.settle(server, first)
    first.close()
    assert handling.wait(WAIT_S)
    second = network.cell("site-1")
    with pytest.raises(UnreachableError, match="server is still handling the end of its former link to site-1"):
        second.connect(address, **network.proof(second))
    go_on.set()
