"""Which of gRPC's threads read the sockets."""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from flare_transport.links.grpc_polling import EXPERIMENTS, one_thread_reads

ECHO = """
import os
from flare_transport import Cell, Raw

secret = bytes(16)
with Cell("server") as server, Cell("site-1") as site:
    server.handle("echo", lambda message: Raw(message.body))
    site.connect(server.listen("grpc://127.0.0.1:0", secret=secret), peer="server", secret=secret)
    print(bytes(site.request("server", "echo", Raw(b"hello")).body), os.environ.get("GRPC_EXPERIMENTS"))
"""


def echo(**settings):
    """Return what a process prints that sends a message to itself, and what gRPC tells of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")} | settings
    done = subprocess.run([sys.executable, "-c", ECHO], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def test_the_thread_that_waits_for_events_reads_the_sockets():
    printed, told = echo(GRPC_VERBOSITY="debug", GRPC_TRACE="tcp,event_engine_endpoint")
    assert "tcp_posix.cc" in told
    assert "posix_endpoint.cc" not in told
    assert printed == "b'hello' None", "processes that this one starts are not to inherit the switch"


def test_the_switch_is_one_that_this_grpc_knows():
    _, told = echo()
    assert told == ""


@pytest.mark.skipif(tuple(map(int, version("grpcio").split(".")[:2])) < (1, 80), reason="it knows one way only")
def test_who_sets_experiments_decides():
    printed, told = echo(
        GRPC_EXPERIMENTS="event_engine_client,event_engine_listener",
        GRPC_VERBOSITY="debug",
        GRPC_TRACE="tcp,event_engine_endpoint",
    )
    assert "posix_endpoint.cc" in told
    assert printed == "b'hello' event_engine_client,event_engine_listener"


@pytest.mark.parametrize("installed", ["1.79.1", "1.86.0", "2.0.0", "unreadable"])
def test_other_versions_are_left_as_they_are(installed, tmp_path, monkeypatch):
    described = tmp_path / f"grpcio-{installed}.dist-info" / "METADATA"
    described.parent.mkdir()
    described.write_text(f"Metadata-Version: 2.1\nName: grpcio\nVersion: {installed}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(EXPERIMENTS, raising=False)
    assert version("grpcio") == installed
    with one_thread_reads():
        assert EXPERIMENTS not in os.environ
