"""A gRPC link whose connection breaks continues over the next one; nothing is lost or repeated."""

from __future__ import annotations

import gc
import hashlib
import random
import threading
from collections import deque
from pathlib import Path

import pytest

from flare_transport import Cell, PeerLostError, Raw, UnreachableError
from flare_transport.certificates import issue, make_authority

WAIT_S = 30
AUTHORITY = make_authority("test authority")


class Pair:
    """A server and a site with a link through a proxy."""

    def __init__(self, proxy_to, *, grace_s: float = 30.0, plain: bool = False) -> None:
        self.server = Cell("server", reconnect_grace_s=grace_s)
        self.site = Cell("site-1", reconnect_grace_s=grace_s)
        self.plain = plain
        address = self.server.listen("grpc://127.0.0.1:0", **self._proof("server"))
        self.proxy = proxy_to(int(address.rpartition(":")[2]))
        self.connect(self.site)

    def _proof(self, name: str) -> dict:
        return {"secret": bytes(32)} if self.plain else {"credentials": issue(AUTHORITY, name)}

    def connect(self, site: Cell) -> None:
        self.server.handle("settle", lambda message: None)
        site.connect(f"grpc://127.0.0.1:{self.proxy.port}", peer="server", **self._proof("site-1"))
        site.request("server", "settle", timeout_s=WAIT_S)

    def close(self) -> None:
        self.site.close()
        self.server.close()


@pytest.fixture(params=["mtls", "plain"])
def pair(request, proxy_to):
    made = Pair(proxy_to, plain=request.param == "plain")
    yield made
    made.close()


@pytest.fixture
def hasty(proxy_to):
    made = Pair(proxy_to, grace_s=0.3)
    yield made
    made.close()


def test_requests_and_messages_survive_cuts_once_and_in_order(pair):
    seen: list[int] = []
    done = threading.Event()

    def note(message):
        seen.append(message.payload)
        if message.payload == 999:
            done.set()

    pair.server.handle("note", note)
    pair.server.handle("double", lambda message: 2 * message.payload)
    for number in range(1000):
        if number % 50 == 25:
            pair.proxy.cut()
        pair.site.send("server", "note", number)
        if number % 10 == 0:
            assert pair.site.request("server", "double", number, timeout_s=WAIT_S).payload == 2 * number
    assert done.wait(WAIT_S)
    assert seen == list(range(1000))
    assert pair.proxy.connections > 10


def test_a_stream_continues_where_it_was_cut(pair):
    data = random.Random(1).randbytes(48 << 20)
    found: deque[str] = deque()

    def read(reader):
        digest = hashlib.sha256()
        for number, chunk in enumerate(reader):
            digest.update(chunk)
            if number % 8 == 4:
                pair.proxy.cut()
        found.append(digest.hexdigest())

    pair.server.handle_stream("blob", read)
    with pair.site.open_stream("server", "blob") as writer:
        writer.write(data)
    assert list(found) == [hashlib.sha256(data).hexdigest()]
    assert pair.proxy.connections > 3


def test_large_replies_are_received_in_place_across_cuts(pair):
    data = random.Random(2).randbytes(4 << 20)
    pair.server.handle("pull", lambda message: Raw(data))
    for number in range(20):
        into = bytearray(len(data))
        pending = pair.site.start_request("server", "pull", into=memoryview(into))
        if number % 3 == 1:
            pair.proxy.cut()
        assert len(pending.result(WAIT_S).body) == len(data)
        assert into == data


def test_both_ends_send_while_the_link_is_cut_at_random_moments(pair):
    """Cut the connection 200 times while messages and large replies are in flight in both directions."""
    generator = random.Random(3)
    data = generator.randbytes(1 << 20)
    seen: dict[str, list[int]] = {"server": [], "site-1": []}
    for cell in (pair.server, pair.site):
        cell.handle("note", lambda message, name=cell.name: seen[name].append(message.payload))
        cell.handle("pull", lambda message: Raw(data))
    stop = threading.Event()
    failures: list[BaseException] = []

    def talk(cell: Cell, peer: str) -> int:
        number = 0
        while not stop.is_set():
            cell.send(peer, "note", number)
            if bytes(cell.request(peer, "pull", timeout_s=WAIT_S).body) != data:
                raise AssertionError("a reply is not what was sent")
            number += 1
        return number

    counts: dict[str, int] = {}

    def run(cell: Cell, peer: str) -> None:
        try:
            counts[peer] = talk(cell, peer)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=each) for each in ((pair.server, "site-1"), (pair.site, "server"))]
    for thread in threads:
        thread.start()
    cuts = threading.Event()
    for _ in range(200):
        cuts.wait(generator.uniform(0.0, 0.06))
        pair.proxy.cut()
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert not failures, failures
    pair.site.request("server", "settle", timeout_s=WAIT_S)
    assert {name: sorted(numbers) == list(range(counts[name])) for name, numbers in seen.items()} == {
        "server": True,
        "site-1": True,
    }
    assert all(numbers == sorted(numbers) for numbers in seen.values())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list a process's files")
def test_cuts_leak_no_sockets(proxy_to):
    def run() -> int:
        pair = Pair(proxy_to, plain=True)
        for number in range(25):
            pair.site.send("server", "settle", number)
            pair.proxy.cut()
            pair.site.request("server", "settle", timeout_s=WAIT_S)
        pair.close()
        pair.proxy.close()
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    first = run()  # includes the descriptors that gRPC opens once per process
    assert min(run(), run()) <= first + 2


def test_a_link_that_is_not_restored_in_time_is_lost_at_both_ends(hasty):
    lost = {"server": threading.Event(), "site-1": threading.Event()}
    hasty.server.on_peer_lost(lambda peer, error: lost[peer].set())
    hasty.site.on_peer_lost(lambda peer, error: lost[peer].set())
    hasty.server.handle("wait", lambda message: lost["site-1"].wait(WAIT_S))
    pending = hasty.site.start_request("server", "wait")
    hasty.proxy.refusing = True
    hasty.proxy.cut()
    with pytest.raises(PeerLostError, match="server"):
        pending.result(WAIT_S)
    assert all(event.wait(WAIT_S) for event in lost.values())
    with pytest.raises((UnreachableError, PeerLostError)):
        hasty.site.send("server", "settle")


def test_a_restarted_cell_can_link_during_the_grace_period_of_its_old_link(pair):
    """A restarted site does not have to wait for the end of its old link's grace period."""
    pair.proxy.refusing = True
    pair.proxy.cut()
    interrupted = pair.site
    pair.proxy.refusing = False
    again = Cell("site-1")
    try:
        # The old cell may resume its link at any moment; the new process is admitted while the link is interrupted.
        interrupted.close()
        pair.connect(again)
        assert pair.server.peers == ("site-1",)
    finally:
        again.close()


def test_another_cell_cannot_take_over_a_link(pair):
    """A second cell of the same name is refused while the first has its link."""
    second = Cell("site-1")
    with pytest.raises(UnreachableError, match="site-1"):
        pair.connect(second)
    second.close()


def test_closing_a_cell_with_an_interrupted_link_does_not_wait(pair):
    pair.proxy.refusing = True
    pair.proxy.cut()
    pair.site.close()
    pair.server.close()
    assert pair.server.peers == ()


@pytest.mark.parametrize("cuts", [0, 1])
def test_a_closed_link_closes_its_socket_without_garbage_collection(pair, cuts):
    assert pair.proxy.wait_for_sockets(2)  # one connection, with a socket on each side of the proxy
    gc.collect()
    gc.disable()
    try:
        for _ in range(cuts):
            pair.proxy.cut()
            pair.site.request("server", "settle", timeout_s=WAIT_S)
        pair.site.close()
        assert pair.proxy.wait_for_sockets(0)
    finally:
        gc.enable()
