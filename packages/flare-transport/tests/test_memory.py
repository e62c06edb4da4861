"""Memory that a link has used goes back to the system when the link has ended."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import json
import os
import sys
from pathlib import Path

from flare_transport import Cell, Credentials
from flare_transport.certificates import issue, make_authority

PIECE_BYTES = 1 << 18

authority = make_authority("test")
server, site = Cell("server"), Cell("site-1")
address = server.listen("grpc://127.0.0.1:0", credentials=issue(authority, "server"))
site.connect(address, credentials=issue(authority, "site-1"), peer="server")
server.handle("hello", lambda message: None)
site.request("server", "hello")

def memory():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

held = [memory()]
pieces = [b"x" * PIECE_BYTES for _ in range(400)]
last = b"x" * 100_000  # lies behind them, and stays
del pieces
held.append(memory())
site.close()
held.append(memory())
server.close()
print(json.dumps(held))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not told what to keep")
def test_the_end_of_a_link_gives_back_what_a_small_object_would_hold():
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, timeout=60)
    before, kept, after = json.loads(done.stdout)
    assert kept - before > 80 << 20, "the C library gives it back by itself; nothing is shown here"
    assert after - before < 20 << 20
