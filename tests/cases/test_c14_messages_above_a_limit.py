"""C14: no size is too large: data beyond a frame is sent in ranges, and 32 bits are no limit."""

from __future__ import annotations

import json

import pytest

MIB = 1 << 20

# In a separate process: gRPC's threads would prevent later tests' simulators from forking.
TRANSFER = """
import hashlib
import json
import sys
import threading

import numpy as np

from flare_tensor_downloader import Downloader, add_tensors, download_tensors
from flare_transport import Cell

SECRET = bytes(32)


def digest(arrays):
    found = hashlib.sha256()
    for array in arrays.values():
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def transfer(owner, receiver):
    block = np.random.default_rng(0).integers(0, 256, 4 << 20, dtype=np.uint8)
    sent = {f"w{number}": np.resize(block, size) for number, size in enumerate(sizes)}
    downloader = Downloader(owner)
    error, found = download_tensors(owner.name, add_tensors(downloader, sent), None, receiver)
    assert error is None, error
    assert [array.nbytes for array in found.values()] == sizes
    assert digest(found) == digest(sent)
    arrived.append(owner.name)


sizes, directions = json.loads(sys.argv[1])
arrived = []
with Cell("server") as server, Cell("site-1") as site:
    address = server.listen("grpc://127.0.0.1:0", secret=SECRET)
    site.connect(address, secret=SECRET, peer="server")
    pairs = [(server, site), (site, server)][:directions]
    threads = [threading.Thread(target=transfer, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("arrived from", *sorted(arrived))
"""


def transfer(project, sizes: list[int], directions: int = 1) -> None:
    script = project.write("transfer.py", TRANSFER)
    run = project.python(str(script), json.dumps([sizes, directions]), timeout=800)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "arrived from " + " ".join(["server", "site-1"][:directions])


@pytest.mark.parametrize("size", [MIB - 1, MIB, MIB + 1, 300 * MIB])
def test_models_around_the_size_of_a_chunk(project, size):
    transfer(project, [size])


def test_both_directions_at_once(project):
    transfer(project, [48 * MIB + 5, 3, 16 * MIB], directions=2)


@pytest.mark.at_length  # takes 10 GiB of memory
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sizes", [[2**31 + 8], [2**30] * 4 + [300 * MIB]], ids=["one tensor", "4.5 GB"])
def test_more_than_32_bits_count(project, sizes):
    transfer(project, sizes)
