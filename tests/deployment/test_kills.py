"""Whichever process is killed in mid-round and restarted, the job ends with the model of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import textwrap
import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import pytest

from flare_core.components import Component
from flare_core.job import FilterEntry
from flare_deploy.processes.lock_file import exits_within
from flare_tensor_downloader import read_file

VICTIMS = ["client job", "client", "server job", "server", "everybody"]
RUNS = 20 if os.environ.get("FLARE_SLOW_TESTS") else 1


@pytest.fixture
def undisturbed(hospital, database):
    place = hospital(**database)
    found, digest = place.run(place.noise_job())
    assert found["state"] == "finished"
    return place, digest


@pytest.mark.timeout(60 + 60 * RUNS)
@pytest.mark.parametrize(
    ("database", "victim"),
    [
        ("sqlite", "client"),
        ("sqlite", "server job"),
        ("sqlite", "everybody"),
        ("postgresql", "everybody"),
        *(pytest.param("sqlite", victim, marks=pytest.mark.at_length) for victim in ("client job", "server")),
        *(pytest.param("postgresql", victim, marks=pytest.mark.at_length) for victim in VICTIMS[:-1]),
    ],
    indirect=["database"],
)
def test_a_kill_in_mid_round_does_not_change_the_model(undisturbed, victim):
    place, digest = undisturbed
    for _ in range(RUNS):
        first = threading.Event()
        process: list[int] = []

        def decide(site, pid, times, first=first, process=process):
            if site == "site-1" and times == 1:
                process.append(pid)
                first.set()
                threading.Event().wait(30)  # until it is killed

        gate = place.gate(decide)
        with place.admin() as admin:
            job = admin.submit(place.noise_job(gate))["id"]
        assert first.wait(30)
        if victim == "client job":
            os.kill(process[0], signal.SIGKILL)
        elif victim in ("server job", "everybody"):
            disturb(place, victim)
        else:
            place.kill("site-1" if victim == "client" else "server")
        found, after = place.result(job)
        assert (found["state"], found["reason"]) == ("finished", found["reason"])
        assert after == digest


@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", ["everybody", pytest.param("server job", marks=pytest.mark.at_length)])
def test_an_optimizers_state_survives_a_kill(hospital, victim):
    place = hospital()
    _, digest = place.run(place.noise_job(workflow="FedOpt"))
    _, plain = place.run(place.noise_job())
    assert digest != plain
    first = threading.Event()

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            first.set()
            threading.Event().wait(30)  # until it is killed

    with place.admin() as admin:
        job = admin.submit(place.noise_job(place.gate(decide), workflow="FedOpt"))["id"]
    assert first.wait(30)
    disturb(place, victim)
    found, after = place.result(job)
    assert (found["state"], after) == ("finished", digest)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("wakes", "victim"),
    [
        (True, "server"),
        pytest.param(True, "site-1", marks=pytest.mark.at_length),
        pytest.param(False, "server", marks=pytest.mark.at_length),
        pytest.param(False, "site-1", marks=pytest.mark.at_length),
    ],
)
def test_a_process_frozen_while_its_daemon_is_killed_leaves_the_job_to_another_one(hospital, victim, wakes):
    place = hospital()
    _, digest = place.run(place.noise_job())
    first = threading.Event()
    process: list[int] = []

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            process.append(pid)
            first.set()
            threading.Event().wait(30)  # until it is killed

    with place.admin() as admin:
        job = admin.submit(place.noise_job(place.gate(decide)))["id"]
    assert first.wait(30)
    frozen = psutil.Process(place.job_process() if victim == "server" else process[0])
    frozen.suspend()
    place.end(victim)
    if wakes:
        frozen.resume()
        assert exits_within(frozen.pid, 20)
        assert not (place.kit(victim) / "jobs" / job / "run" / "summary.json").exists()
    place.restart(victim)
    found, after = place.result(job)
    assert (found["state"], found["reason"]) == ("finished", found["reason"])
    assert after == digest
    assert exits_within(frozen.pid, 20)


def disturb(place, victim):
    if victim == "server job":
        os.kill(place.job_process(), signal.SIGKILL)
        return
    for name in ("server", "site-1", "site-2"):
        place.end(name)
    for name in ("server", "site-1", "site-2"):
        place.restart(name)


SAYS_THAT_IT_HAS_SENT = """
    import os
    import socket
    import sys

    import numpy as np

    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        params = {key: value + np.random.normal(size=value.shape) for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params))
        if sys.argv[1] and model.current_round == 1:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(sys.argv[1])
                connection.sendall(f"{flare.get_site_name()} {os.getpid()}".encode())
                connection.recv(1)
"""


@pytest.mark.timeout(60 + 30 * RUNS)
def test_a_script_killed_between_two_tasks_continues_its_random_numbers(hospital):
    place = hospital()
    _, digest = place.run(place.job(SAYS_THAT_IT_HAS_SENT, [""]))
    for _ in range(RUNS):

        def decide(site, pid, times):
            if site == "site-1" and times == 1:
                os.kill(pid, signal.SIGKILL)

        found, after = place.run(place.job(SAYS_THAT_IT_HAS_SENT, [str(place.gate(decide).path)]))
        assert (found["state"], after) == ("finished", digest)


OWN_NUMBERS = """
    import numpy as np

    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        noise = np.random.default_rng((number, model.current_round)).normal(size=model.params["w"].shape)
        flare.send(flare.FLModel(params={"w": model.params["w"] + noise}))
"""
ASKS_BEFORE_IT_READS = """
    import os
    import socket
    from dataclasses import replace

    from flare_core.filters import Filter


    class AsksBeforeItReads(Filter):
        def __init__(self, gate):
            self.gate = gate

        def process(self, model, context):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(self.gate)
                connection.sendall(f"{context.site} {os.getpid()}".encode())
                connection.recv(1)
            return replace(model, params=dict(model.params.items()))
"""


@pytest.mark.at_length
@pytest.mark.timeout(60 + 30 * RUNS)
def test_a_script_in_a_separate_process_is_killed_before_its_reply_is_read(hospital):
    place = hospital()
    settings = {"model": {"w": np.zeros(100_000)}, "launch_external_process": True}
    _, digest = place.run(place.job(OWN_NUMBERS, **settings))
    for _ in range(RUNS):

        def decide(site, pid, times):
            if site == "site-1" and times == 2:
                (script,) = psutil.Process(pid).children()
                script.kill()
                script.wait(20)

        job = place.job(OWN_NUMBERS, **settings)
        asks = Component("asks.AsksBeforeItReads", {"gate": str(place.gate(decide).path)})
        (job.code.root / "asks.py").write_text(textwrap.dedent(ASKS_BEFORE_IT_READS))
        job.code = replace(job.code, files=(*job.code.files, PurePosixPath("asks.py")))
        job.client.task_result_filters.append(FilterEntry(("*",), [asks]))
        found, after = place.run(job)
        assert (found["state"], after) == ("finished", digest), found["reason"]


COUNTS = """
    import os
    import socket
    import sys

    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model.current_round == 1:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(sys.argv[1])
                connection.sendall(f"{flare.get_site_name()} {os.getpid()}".encode())
                connection.recv(1)
        flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
"""


@pytest.mark.parametrize("victim", ["the script", pytest.param("the job's process", marks=pytest.mark.at_length)])
def test_a_script_in_a_separate_process_is_restarted(hospital, victim):
    place = hospital()
    hosts, scripts = [], []

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            scripts.append(psutil.Process(pid))
            hosts.append(scripts[0].ppid())
            os.kill(pid if victim == "the script" else hosts[0], signal.SIGKILL)

    job = place.job(COUNTS, [str(place.gate(decide).path)], launch_external_process=True)
    found, _ = place.run(job)
    assert found["state"] == "finished", found["reason"]
    model = read_file(place.folder / "results" / found["id"] / "server" / "global_model.safetensors")
    assert model["w"].tolist() == [4.0] * 3
    assert not list(Path(tempfile.gettempdir()).glob(f"flare-{hosts[0]}-*"))  # where its socket was
    assert not psutil.wait_procs(scripts, timeout=20)[1], "the script goes on without the job's process"


MEDIAN = """
import json
import os
import socket

from flare_core.robust import CoordinateMedian


class AsksFirst(CoordinateMedian):
    def _combine(self, stack, key):
        if os.path.exists("{gate}"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect("{gate}")
                connection.sendall(b"server 0")
                connection.recv(1)
        return super()._combine(stack, key)
"""


@pytest.mark.at_length
def test_a_site_killed_while_all_results_are_read_at_once_costs_a_round(hospital):
    place = hospital()
    model = {f"w{number}": np.zeros(2_000_000, np.float32) for number in range(4)}
    victims = []

    def decide(site, pid, times):
        if times == 1:
            below = psutil.Process(place.poc.status()["site-2"]).children()
            victims.extend(each for each in below if "job_process" in " ".join(each.cmdline()))
            victims[0].kill()

    gate = place.gate(decide)
    job = place.noise_job(rounds=2, model=model)
    job.server.workflows[0].args.update(aggregator={"class_path": "median.AsksFirst", "args": {}})
    (job.code.root / "median.py").write_text(MEDIAN.replace("{gate}", str(gate.path)))
    job.code = replace(job.code, files=(*job.code.files, PurePosixPath("median.py")))
    found, _ = place.run(job)
    assert found["state"] == "finished", found["reason"]
    assert victims
    log = (place.folder / "results" / found["id"] / "log.txt").read_text()
    assert "was cut short; the round begins again" in log


def test_an_acknowledged_abort_holds_even_if_the_server_is_killed(hospital):
    place = hospital()
    gate = place.gate(lambda *_: threading.Event().wait())
    with place.admin() as admin:
        job = admin.submit(place.noise_job(gate))["id"]
        place.wait_for_events(job, {"event": "RoundStarted", "round": 2})
        os.kill(place.job_process(), signal.SIGSTOP)  # so that it cannot end before the server does
        admin.abort(job)
    process = psutil.Process(place.job_process())
    place.kill("server")
    process.kill()
    found = place.wait(job)
    assert (found["state"], found["reason"]) == ("aborted", "aborted by admin")
    assert json.loads((place.kit("server") / "jobs" / job / "run" / "summary.json").read_text())["outcome"] == "aborted"
