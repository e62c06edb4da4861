"""Links over a network that is slow, loses packets and goes silent; and a process that is paused.

Two network namespaces are joined by a wire that this test carries packet by packet. Needs the right to make them.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from flare_transport.certificates import issue, make_authority

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

pytestmark = pytest.mark.skipif(
    not (Path("/dev/net/tun").exists() and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("ip")),
    reason="needs root, tun devices and ip",
)

SERVER = """
import hashlib, sys
from pathlib import Path
from flare_transport import Cell, Credentials, Raw

def credentials(name):
    return Credentials(*((Path(sys.argv[1]) / f"{name}.{part}").read_bytes()
                         for part in ("certificate", "private_key", "authority")))

notes = []
with Cell("server", reconnect_grace_s=60) as cell:
    cell.handle("double", lambda message: 2 * message.payload)
    cell.handle("note", lambda message: notes.append(message.payload))
    cell.handle("notes", lambda message: notes)
    cell.handle("pull", lambda message: Raw(bytes(range(256)) * (message.payload // 256)))
    cell.handle_stream("blob", lambda reader: digests.append(hashlib.sha256(reader.read()).hexdigest()))
    digests = []
    cell.handle("digests", lambda message: digests)
    print(cell.listen("grpc://10.77.0.1:0", credentials=credentials("server")), flush=True)
    sys.stdin.readline()
"""

CLIENT = """
import hashlib, logging, random, sys, threading
from pathlib import Path
from flare_transport import Cell, Credentials

class Printed(logging.Handler):
    def emit(self, record):
        print(record.getMessage().partition(" peer=")[0].partition(" lane=")[0], flush=True)

logging.getLogger("flare_transport").setLevel(logging.DEBUG)
logging.getLogger("flare_transport").addHandler(Printed())

def credentials(name):
    return Credentials(*((Path(sys.argv[1]) / f"{name}.{part}").read_bytes()
                         for part in ("certificate", "private_key", "authority")))

with Cell("site-1", reconnect_grace_s=60) as cell:
    cell.connect(sys.argv[2], peer="server", credentials=credentials("site-1"), timeout_s=30)
    print("connected", flush=True)
    data = random.Random(0).randbytes(200_000)

    def write():
        with cell.open_stream("server", "blob") as writer:
            for start in range(0, len(data), 20_000):
                writer.write(data[start : start + 20_000])

    thread = threading.Thread(target=write)
    thread.start()
    for number in range(20):
        cell.send("server", "note", number)
        assert cell.request("server", "double", number).payload == 2 * number
        print(number, flush=True)
    assert bytes(cell.request("server", "pull", 102_400).body) == bytes(range(256)) * 400
    thread.join()
    assert cell.request("server", "notes").payload == list(range(20))
    assert cell.request("server", "digests").payload == [hashlib.sha256(data).hexdigest()]
    print("done", flush=True)
"""


class Wire:
    """Two network namespaces, between which packets are delayed or dropped."""

    def __init__(self, *, delay_s: float = 0.1, loss: float = 0.01) -> None:
        self.delay_s, self.loss, self.silent = delay_s, loss, False
        self.carried = self.lost = 0
        self._counted = threading.Condition()
        tag = secrets.token_hex(3)
        self.spaces = [f"flare-{tag}-{end}" for end in "ab"]
        self._random = random.Random(0)
        self._devices: list[int] = []
        for number, space in enumerate(self.spaces):
            device = f"fl{tag}{'ab'[number]}"
            run("ip", "netns", "add", space)
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
            self._devices.append(descriptor)
            run("ip", "link", "set", device, "netns", space)
            inside = ("ip", "netns", "exec", space, "ip")
            run(*inside, "addr", "add", f"10.77.0.{number + 1}/24", "dev", device)
            run(*inside, "link", "set", device, "up")
            run(*inside, "link", "set", "lo", "up")
        self._wakes, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def start(self, end: int, script: str, *arguments: str) -> subprocess.Popen:
        """Run Python in one of the namespaces."""
        command = ["ip", "netns", "exec", self.spaces[end], sys.executable, "-c", script, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_for(self, *, lost: int = 0, carried: int = 0) -> None:
        """Wait until that many more packets were lost or delivered."""
        with self._counted:
            lost, carried = self.lost + lost, self.carried + carried
            assert self._counted.wait_for(lambda: self.lost >= lost and self.carried >= carried, 60)

    def close(self) -> None:
        os.write(self._waker, b"x")
        self._thread.join()
        for descriptor in (*self._devices, self._wakes, self._waker):
            os.close(descriptor)
        for space in self.spaces:
            run("ip", "netns", "del", space)

    def _carry(self) -> None:
        waiting: list[tuple[float, int, int, bytes]] = []
        number = 0
        while True:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            ready, _, _ = select.select([*self._devices, self._wakes], [], [], pause)
            if self._wakes in ready:
                return
            for descriptor in ready:
                packet = os.read(descriptor, 65536)
                if self.silent or self._random.random() < self.loss:
                    with self._counted:
                        self.lost += 1
                        self._counted.notify_all()
                    continue
                number += 1
                other = self._devices[1 - self._devices.index(descriptor)]
                heapq.heappush(waiting, (time.monotonic() + self.delay_s, number, other, packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                os.write(target, packet)
                with self._counted:
                    self.carried += 1
                    self._counted.notify_all()


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path):
    authority = make_authority("test authority")
    for name in ("server", "site-1"):
        made = issue(authority, name)
        for part in ("certificate", "private_key", "authority"):
            (tmp_path / f"{name}.{part}").write_bytes(getattr(made, part))
    return tmp_path


@pytest.fixture
def wire():
    made = Wire()
    yield made
    made.close()


def read_until(process: subprocess.Popen, line: str) -> None:
    while (found := process.stdout.readline().strip()) != line:
        assert found, f"the process ended before it printed {line!r}"


@contextmanager
def running(wire: Wire, folder: Path):
    """Start a server in one namespace and a client in the other."""
    server = wire.start(0, SERVER, str(folder))
    client = wire.start(1, CLIENT, str(folder), server.stdout.readline().strip())
    try:
        read_until(client, "connected")
        yield server, client
        read_until(client, "done")
        assert client.wait(30) == 0
    finally:
        for process in (client, server):
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


@pytest.mark.timeout(180)
def test_everything_arrives_over_a_network_that_loses_packets_and_goes_silent(wire, folder):
    with running(wire, folder) as (server, client):
        read_until(client, "5")
        wire.silent = True  # all packets are dropped, without an error
        wire.wait_for(lost=8)  # retransmissions among them
        wire.silent = False
        read_until(client, "10")
        server.send_signal(signal.SIGSTOP)  # the process is paused, its sockets are not closed
        wire.wait_for(carried=3)
        server.send_signal(signal.SIGCONT)


@pytest.mark.timeout(180)
def test_a_link_survives_a_silence_that_ends_its_connection(wire, folder):
    """Keepalive ends the connection after about 20 s; the link continues over the next one."""
    with running(wire, folder) as (_, client):
        read_until(client, "3")
        wire.silent = True
        read_until(client, "cannot reconnect yet")
        wire.silent = False
        read_until(client, "link resumed")
