"""C35: a busy port is named, stopping leaves nothing behind, a second start is refused, projects do not mix."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("command", [("up", "--address", "127.0.0.1"), ("poc", "start")], ids=["up", "poc"])
def test_a_busy_port_is_named_within_seconds_and_nothing_is_left_running(shell, command):
    with socket.create_server(("0.0.0.0", 0)) as busy:
        port = busy.getsockname()[1]
        began = time.monotonic()
        said = shell.flare(*command, "--port", str(port), code=1)
        assert time.monotonic() - began < 10
    assert str(port) in said
    assert "in use" in said
    assert shell.processes() == []


@pytest.mark.at_length
def test_the_port_of_the_command_is_used_everywhere(shell):
    port = shell.free_port()
    shell.flare("poc", "start", "--port", str(port))
    poc = shell.json("poc", "status")
    kits = list((shell.folder / "cache" / "flare" / "poc").rglob("kit.json"))
    assert len(kits) == 4
    assert {json.loads(kit.read_text())["address"] for kit in kits} == {f"grpc://127.0.0.1:{port}"}
    assert listens(port)
    assert all(each["running"] for each in poc["processes"])


def test_stop_leaves_no_process_and_no_port_and_a_new_start_works_at_once(shell):
    port = shell.free_port()
    for _ in range(2):
        shell.flare("poc", "start", "--port", str(port))
        assert listens(port)
        shell.flare("poc", "stop")
        assert not listens(port)
        assert shell.processes() == []


def test_a_second_start_and_a_cleanup_while_it_runs_are_refused(shell):
    shell.flare("poc", "start")
    assert "a POC is running in" in shell.flare("poc", "start", code=1)
    assert "stop it first with 'flare poc stop'" in shell.flare("poc", "clean", code=1)
    assert all(each["running"] for each in shell.json("poc", "status")["processes"])
    shell.flare("poc", "stop")
    shell.flare("poc", "clean")
    assert "no POC in" in shell.flare("poc", "status")


@pytest.mark.at_length
def test_up_twice_says_that_it_is_already_running(shell):
    port = str(shell.free_port())
    first = shell.json("up", "--port", port)
    second = shell.json("up", "--port", port)
    assert (first["started"], second["started"]) == (True, False)
    assert first["pid"] == second["pid"]


def test_a_second_process_with_the_same_kit_is_refused(shell):
    shell.flare("poc", "start", "--clients", "1")
    site = shell.folder / "cache" / "flare" / "poc" / "sites" / "site-1"
    assert "is running already, as process" in shell.flare("client", site, code=1)


@pytest.mark.at_length
def test_a_copy_of_a_kit_is_refused_while_the_first_is_connected(hospital, monkeypatch):
    from flare_deploy.client import daemon as client
    from flare_deploy.processes import connected_daemon
    from flare_transport import AuthenticationError

    place = hospital(1)
    copy = place.folder / "copy"
    shutil.copytree(place.kit("site-1"), copy)
    (copy / "lock").unlink()
    monkeypatch.setattr(connected_daemon, "DEAD_LINK_S", 1.0)
    second = client.ClientDaemon(copy)
    with pytest.raises(AuthenticationError, match="site-1 is connected already, from another machine or folder"):
        second.run()
    second.close()


def test_clients_of_a_killed_server_reconnect_to_the_next_one(hospital):
    place = hospital(2)
    place.end("server")
    place.restart("server")
    found, _ = place.run(place.noise_job())
    assert found["state"] == "finished"


@pytest.mark.at_length
def test_a_client_of_another_project_is_refused(shell):
    """A second project takes over the port of the first: the first project's site learns why it is refused."""
    port = str(shell.free_port())
    first, second = shell.folder / "first", shell.folder / "second"
    up = ("--address", "127.0.0.1", "--port", port, "--folder")
    shell.flare("up", *up, first)
    token = shell.flare("invite", "site-1", "--kit", first / "admin").strip()
    shell.flare("join", token, "--no-start")
    shell.flare("down", "--folder", first)
    shell.flare("up", *up, second)
    said = shell.flare("client", shell.folder / "site-1", code=1)
    assert "certificates do not match" in said
    assert shell.json("site", "list", "--kit", second / "admin")[0]["name"] == "admin"
    shell.flare("down", "--folder", second)


@pytest.mark.at_length
def test_two_federations_run_in_parallel(shell, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        shell.flare("poc", "start", "--clients", "1", "--folder", folder)
    ports = set()
    for folder in folders:
        status = shell.json("status", "--kit", folder / "project" / "admin")
        assert [site["connected"] for site in status["sites"]] == [True]
        ports.add(status["address"])
        shell.flare("poc", "stop", "--folder", folder)
    assert len(ports) == 2


def test_processes_started_by_a_script_end_when_it_is_killed(shell, tmp_path):
    """A killed script that runs a job in PocEnv leaves no daemon behind."""
    script = """
import sys, numpy as np
from flare_recipes_np import FedAvgRecipe
from flare_deploy import PocEnv

open("client.py", "w").write('''
import flare_core.client as flare
flare.init()
print("started", flush=True)
import threading
threading.Event().wait()
''')
recipe = FedAvgRecipe(min_clients=1, num_rounds=1, initial_model=np.zeros(2), train_script="client.py")
run = recipe.execute(PocEnv(num_clients=1))
print("running", flush=True)
run.get_result()
"""
    path = tmp_path / "job.py"
    path.write_text(script)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, path], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    daemons = [each for each in shell.processes() if each.pid != process.pid]
    assert len(daemons) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs(daemons, timeout=20)
    assert alive == []
