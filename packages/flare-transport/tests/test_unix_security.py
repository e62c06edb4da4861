"""Authentication of links over unix sockets, and refusal of other programs."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flare_transport import AddressError, AuthenticationError, PeerLostError
from flare_transport.authentication import connector_handshake, listener_handshake


def test_a_wrong_secret_is_refused_at_both_ends(unix_network, caplog):
    server, site = unix_network.cell("server"), unix_network.cell("site-1")
    address = unix_network.listen(server)
    with pytest.raises(AuthenticationError, match="secret"):
        site.connect(address, secret=b"another secret of enough bytes")
    assert server.peers == site.peers == ()
    site.connect(address, secret=unix_network.secret)
    unix_network.settle(server, site)
    assert server.peers == ("site-1",)


@pytest.mark.parametrize("secret", [None, b"short"])
def test_a_secret_is_required(unix_network, secret):
    server = unix_network.cell("server")
    with pytest.raises(AuthenticationError, match="secret"):
        server.listen(f"unix://{unix_network.folder}/server", secret=secret)


def test_the_socket_is_private_to_its_user_and_removed_with_the_cell(unix_network):
    server = unix_network.cell("server")
    path = Path(unix_network.listen(server).removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.close()
    assert not path.exists()


def test_a_socket_left_by_a_dead_process_is_replaced(unix_network):
    path = unix_network.folder / "server"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server, site = unix_network.two()
    assert server.peers == (site.name,)


def test_a_file_is_not_replaced(unix_network):
    (unix_network.folder / "server").write_text("precious")
    with pytest.raises(AddressError, match="is not a socket"):
        unix_network.listen(unix_network.cell("server"))
    assert (unix_network.folder / "server").read_text() == "precious"


@pytest.mark.parametrize(
    "greeting", [b"", b"GET / HTTP/1.1\r\n\r\n", b"FLH1\xff\xff", b"FLH1\x01\x00\x05", b"FLH1\x05\x00\x94\x01\xa1a\xc4"]
)
def test_garbage_from_other_programs_does_not_disturb_the_listener(unix_network, caplog, greeting):
    server = unix_network.cell("server")
    address = unix_network.listen(server)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(address.removeprefix("unix://"))
        stranger.sendall(greeting)
        site = unix_network.cell("site-1")
        site.connect(address, secret=unix_network.secret)  # although the other connection is still open
        unix_network.settle(server, site)
        assert server.peers == ("site-1",)


def test_a_silent_listener_times_out(unix_network):
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(unix_network.folder / "mute"))
        mute.listen()
        site = unix_network.cell("site-1")
        with pytest.raises(AuthenticationError, match=r"within 0\.2 s"):
            site.connect(f"unix://{unix_network.folder}/mute", secret=unix_network.secret, timeout_s=0.2)


def test_a_recorded_proof_cannot_be_replayed():
    """The messages of an authentic connector cannot be replayed, as the listener's nonce differs."""
    secret = b"0123456789abcdef"

    def greet(listener, heard):
        try:
            heard.append(
                listener_handshake(listener, name="server", secret=secret, timeout_s=5, accept=lambda peer: None)
            )
        except AuthenticationError as error:
            heard.append(error)

    ours, theirs = socket.socketpair()
    heard: list = []
    thread = threading.Thread(target=greet, args=(theirs, heard))
    thread.start()
    recorder = Recorder(ours)
    connector_handshake(recorder, name="site-1", secret=secret, timeout_s=5, accept=lambda peer: None)
    thread.join()
    assert heard == ["site-1"]

    again, theirs2 = socket.socketpair()
    heard2: list = []
    thread = threading.Thread(target=greet, args=(theirs2, heard2))
    thread.start()
    for sent in recorder.sent:
        again.sendall(sent)
    thread.join()
    assert isinstance(heard2[0], AuthenticationError)
    for each in (ours, theirs, again, theirs2):
        each.close()


class Recorder:
    """A socket that records the bytes it sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(bytes(data))
        self._connection.sendall(data)

    def __getattr__(self, name: str):
        return getattr(self._connection, name)


CHILD = """
import sys, threading
from flare_transport import Cell

cell = Cell("site-1")
cell.handle("wait", lambda message: threading.Event().wait())
cell.connect(sys.argv[1], secret=bytes.fromhex(sys.argv[2]))
cell.send("server", "linked")
threading.Event().wait()
"""


def test_a_killed_process_is_noticed_at_once(unix_network):
    server = unix_network.cell("server")
    linked, lost = threading.Event(), threading.Event()
    server.handle("linked", lambda message: linked.set())
    server.on_peer_lost(lambda peer, error: lost.set())
    address = unix_network.listen(server)
    child = subprocess.Popen([sys.executable, "-c", CHILD, address, unix_network.secret.hex()])
    try:
        assert linked.wait(30)
        pending = server.start_request("site-1", "wait")
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(PeerLostError, match="site-1"):
            pending.result(10)
        assert lost.wait(10)
    finally:
        child.kill()
        child.wait()
