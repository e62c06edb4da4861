"""Exit of processes that have not closed their gRPC links, or close them late."""

import subprocess
import sys

import pytest

LINKED = """
import atexit, ctypes, threading
from flare_transport import Cell, Raw, UnreachableError

def linked():
    secret = bytes(16)
    server, site = Cell("server"), Cell("site-1")
    server.handle("echo", lambda message: Raw(message.body))
    site.connect(server.listen("grpc://127.0.0.1:0", secret=secret), peer="server", secret=secret)
    assert site.request("server", "echo", Raw(b"hello")).body == b"hello"
    return server, site
"""

CLOSED_LATE = """
def close():
    site.close()
    server.close()
    try:
        Cell("other").listen("grpc://127.0.0.1:0", secret=bytes(16))
    except UnreachableError as error:
        print(error)

atexit.register(close)  # registered before the first link, so it is called last
server, site = linked()
"""

USED_TO_THE_END = """
server, site = linked()

def use():
    while True:
        site.request("server", "echo", Raw(bytes(1 << 20)))

threading.Thread(target=use, daemon=True).start()
"""

# The process outlives the interpreter for a while after its links have ended.
GONE_SLOWLY = """
for cell in linked():
    cell.close()
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.usleep, ctypes.c_void_p), ctypes.c_void_p(900_000), None)
"""


def outcome(what):
    done = subprocess.run([sys.executable, "-c", LINKED + what], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip(), done.stderr


def test_cells_can_be_closed_while_the_interpreter_exits():
    assert outcome(CLOSED_LATE) == (0, "this process is exiting and has no links any more", "")


def test_a_process_can_exit_while_its_links_are_in_use():
    assert outcome(USED_TO_THE_END) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="uses glibc")
def test_nothing_calls_a_finalized_interpreter():
    assert outcome(GONE_SLOWLY) == (0, "", "")
