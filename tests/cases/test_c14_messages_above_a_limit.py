"""C14: no size is too large: what does not fit into a frame travels in ranges, and 32 bits are no limit."""

from __future__ import annotations

import hashlib
import os
import threading

import numpy as np
import pytest

from flare_tensor_downloader import Downloader, add_tensors, download_tensors
from flare_transport import Cell

MIB = 1 << 20
SECRET = bytes(32)


@pytest.fixture
def pair():
    """Two cells with a gRPC link."""
    with Cell("server") as server, Cell("site-1") as site:
        address = server.listen("grpc://127.0.0.1:0", secret=SECRET)
        site.connect(address, secret=SECRET, peer="server")
        yield server, site


def digest(arrays: dict) -> str:
    found = hashlib.sha256()
    for array in arrays.values():
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def transfer(owner: Cell, receiver: Cell, sizes: list[int]) -> None:
    generator = np.random.default_rng(0)
    block = generator.integers(0, 256, 4 * MIB, dtype=np.uint8)
    sent = {f"w{number}": np.resize(block, size) for number, size in enumerate(sizes)}
    downloader = Downloader(owner)
    error, found = download_tensors(owner.name, add_tensors(downloader, sent), None, receiver)
    assert error is None
    assert {name: array.nbytes for name, array in found.items()} == {name: array.nbytes for name, array in sent.items()}
    assert digest(found) == digest(sent)
    assert downloader.open_offers <= 1  # the release may still be on its way


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 300 * MIB])
def test_models_around_the_size_of_a_chunk(pair, size):
    server, site = pair
    transfer(server, site, [size])


def test_both_directions_at_once(pair):
    server, site = pair
    failures: list[BaseException] = []

    def run(owner, receiver):
        try:
            transfer(owner, receiver, [48 * MIB + 5, 3, 16 * MIB])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=each) for each in ((server, site), (site, server))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures


@pytest.mark.skipif("FLARE_SLOW_TESTS" not in os.environ, reason="takes 10 GiB of memory; set FLARE_SLOW_TESTS=1")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sizes", [[2**31 + 8], [2**30] * 4 + [300 * MIB]], ids=["one tensor", "4.5 GB"])
def test_more_than_32_bits_count(pair, sizes):
    server, site = pair
    transfer(server, site, sizes)
