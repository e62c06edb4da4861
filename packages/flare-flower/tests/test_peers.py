"""Ports of a Flower run serve the user who runs it, and nobody else on the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from flare_flower import peers
from flare_flower.loopback import LoopbackPort, Request, Response, Upstream
from flare_flower.processes import FlowerProcesses, ReservedPort

LIST_RUNS = "/v1/control/list-runs"
ASK = r"""
exec 3<>/dev/tcp/127.0.0.1/$0
printf 'POST /v1/control/list-runs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' >&3
cat <&3
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a connection is")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")


def ask_as_nobody(port: int) -> str:
    """Return the answer to a request of another user; empty if the connection was closed."""
    command = ["bash", "-c", ASK, str(port)]
    return subprocess.run(
        command, user=65534, group=65534, extra_groups=[], cwd="/", capture_output=True, text=True, timeout=30
    ).stdout


def ask(port: int) -> Response:
    """Return the answer to the same request of this process."""
    upstream = Upstream(f"127.0.0.1:{port}")
    try:
        return upstream.ask(Request(LIST_RUNS, {"content-type": "application/protobuf"}))
    finally:
        upstream.close()


@pytest.fixture
def port():
    made = LoopbackPort(lambda request: Response(200, {}, b"served"))
    yield int(made.address.rpartition(":")[2])
    made.close()


def test_the_own_user_is_served(port):
    assert ask(port).body == b"served"


@needs_root
def test_another_user_is_not_served(port):
    assert ask_as_nobody(port) == ""
    assert ask(port).body == b"served"


@needs_root
@pytest.mark.slow
def test_flowers_superlink_refuses_another_user(tmp_path):
    """Flower itself would answer: it has no authentication on a loopback interface."""
    port = ReservedPort()
    argv = ["flower-superlink", "--insecure", "--isolation", "process", "--disable-runtime-dependency-installation"]
    is_over = threading.Event()
    log = tmp_path / "log.txt"
    processes = FlowerProcesses(tmp_path, tmp_path / "home", log, lambda *_: is_over.set(), {})
    try:
        processes.start("flower-superlink", [*argv, "--host", "127.0.0.1", "--port", str(port.number)])
        while not _listens(port.number) and not is_over.wait(0.05):
            pass
        assert ask_as_nobody(port.number).startswith("HTTP/1.1 403"), log.read_text()
        assert ask(port.number).status == 200
    finally:
        processes.stop()
        port.close()


@on_linux
def test_a_connections_user_is_found_in_two_ways():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert peers._user_by_netlink(client.getsockname(), port) == os.getuid()
            assert peers._user_by_table(client.getsockname(), port) == os.getuid()
        assert peers._user_by_netlink(("127.0.0.1", port), 1) is None  # a socket that listens is no end of a connection


@on_linux
def test_a_client_that_the_system_does_not_list_is_not_served():
    assert not peers.is_own(("127.0.0.1", 1), 1)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
