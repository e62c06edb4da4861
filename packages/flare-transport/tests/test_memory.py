"""Memory of ended links is returned to the system."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import json
import os
import threading
from pathlib import Path

from flare_transport import Cell
from flare_transport.certificates import issue, make_authority
from flare_transport.links import grpc_loop

PIECE_BYTES = 1 << 18

given_back = threading.Semaphore(0)
give_back = grpc_loop.give_back_memory

def note_giving_back():
    give_back()
    given_back.release()

grpc_loop.give_back_memory = note_giving_back
authority = make_authority("test")
server = Cell("server")
address = server.listen("grpc://127.0.0.1:0", credentials=issue(authority, "server"))
server.handle("hello", lambda message: None)
sites = [Cell(f"site-{number}") for number in range(1, 9)]
for site in sites:
    site.connect(address, credentials=issue(authority, site.name), peer="server")
    site.request("server", "hello")

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

held = [memory()]
pieces = [b"x" * PIECE_BYTES for _ in range(400)]
last = pieces[-1]  # the pieces before it filled every hole that could hold it, so it lies behind them, and stays
del pieces
held.append(memory())
for site in sites:
    site.close()
given_back.acquire()
held.append(memory())
server.close()
times = 1
while given_back.acquire(timeout=1):
    times += 1
print(json.dumps([*held, times]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not told what to keep")
def test_ended_links_return_memory_that_one_object_would_pin():
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=60)
    before, kept, after, times = json.loads(done.stdout)
    assert kept - before > 80 << 20, "the C library gives it back by itself; nothing is shown here"
    assert after - before < 20 << 20
    assert times < 8, "16 ends of links, one after the other, had it done for each"
