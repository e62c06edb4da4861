"""C17: an offer lasts as long as its receivers need, however slow they are and whatever they repeat."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from flare_tensor_downloader import Downloader, add_tensors, download_tensors
from flare_transport import Cell, SocketLink

TENSORS = {f"layer.{number}": np.full(1000, number, np.float32) for number in range(24)}


@pytest.fixture
def hub():
    """A server and any number of sites."""
    cells = [Cell("server", threads=32)]

    def join(name: str) -> Cell:
        cell = Cell(name)
        here, there = SocketLink.pair("server", name)
        cells[0].attach(here)
        cell.attach(there)
        cells.append(cell)
        return cell

    yield cells[0], join
    for cell in reversed(cells):
        cell.close()


def pull(site: Cell, reference: str, index: int):
    return site.request("server", "tensor.pull", [reference, index, 0, 4000], timeout_s=20)


def test_a_fast_and_a_slow_receiver_with_repeats(hub):
    server, join = hub
    downloader = Downloader(server)
    fast, slow = join("fast"), join("slow")
    reference = add_tensors(downloader, TENSORS, receivers=["fast", "slow"])
    first = pull(slow, reference, 0)  # and then it is busy with that for a long time
    assert download_tensors("server", reference, None, fast)[0] is None
    fast.send("server", "tensor.release", [reference])  # a repeat does not count as a second receiver
    fast.send("server", "tensor.release", [reference])
    fast.request("server", "tensor.manifest", [reference], timeout_s=20)  # behind the releases
    assert downloader.open_offers == 1
    for _ in range(3):  # the last answer was lost, so it asks again
        again = pull(slow, reference, 0)
        assert bytes(again.body) == bytes(first.body)
    error, found = download_tensors("server", reference, None, slow)
    assert error is None
    assert all(np.array_equal(found[key], value) for key, value in TENSORS.items())
    join("witness").request("server", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})], timeout_s=20)
    assert downloader.open_offers == 1  # of the witness; the other ended with its last receiver


def test_sixteen_receivers_that_all_repeat(hub):
    server, join = hub
    downloader = Downloader(server)
    sites = [join(f"site-{number}") for number in range(16)]
    reference = add_tensors(downloader, TENSORS, receivers=[site.name for site in sites])
    failures: list = []

    def run(site: Cell) -> None:
        try:
            for index in range(len(TENSORS)):
                for _ in range(2):
                    pull(site, reference, index)
            error, found = download_tensors("server", reference, None, site)
            assert error is None, error
            assert all(np.array_equal(found[key], value) for key, value in TENSORS.items())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(site,)) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    sites[0].request("server", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})], timeout_s=20)
    assert downloader.open_offers == 1


def test_a_dead_receiver_is_not_waited_for(hub):
    server, join = hub
    downloader = Downloader(server)
    alive, dead = join("alive"), join("dead")
    reference = add_tensors(downloader, TENSORS, receivers=["alive", "dead"])
    pull(dead, reference, 0)
    lost = threading.Event()
    server.on_peer_lost(lambda peer, error: lost.set())
    dead.close()
    assert lost.wait(20)
    assert downloader.open_offers == 1
    assert download_tensors("server", reference, None, alive)[0] is None
    alive.request("server", "tensor.manifest", [add_tensors(downloader, {"x": np.zeros(1)})], timeout_s=20)
    assert downloader.open_offers == 1
