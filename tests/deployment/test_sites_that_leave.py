"""Sequential algorithms: a site that has left does not block the others."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np
import pytest

from flare_tensor_downloader import read_file

ADDS = """
    import os
    import socket
    import sys

    import flare_core.client as flare

    flare.init()
    site = flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        if site == "site-1" and flare.get_task_name() == sys.argv[2]:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(sys.argv[1])
                connection.sendall(f"{site} {os.getpid()}".encode())
                connection.recv(1)
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics={"value": float(model.params["w"][0])}))
        elif flare.is_submit_model():
            flare.send(flare.FLModel(params={"w": __import__("numpy").full(3, 10.0 ** int(site[-1]))}))
        else:
            flare.send(flare.FLModel(params={"w": model.params["w"] + 10.0 ** int(site[-1])}))
"""


@pytest.fixture
def run(hospital):
    """Run a job of three sites; the second is killed while the first does its first task of a name, and
    comes back if wanted."""

    def make(task, *, returns=False, **job):
        place = hospital(3)
        asked, leave = threading.Event(), threading.Event()

        def decide(site, pid, times):
            if times == 1:
                asked.set()
                leave.wait(30)

        gate = place.gate(decide)
        with place.admin() as admin:
            job_id = admin.submit(place.job(ADDS, [str(gate.path), task], **job))["id"]
        assert asked.wait(30)
        place.end("site-2")
        place.wait_for_events(job_id, {"event": "SiteLeft", "site": "site-2"})
        leave.set()
        if returns:
            place.restart("site-2")
        found, _ = place.result(job_id)
        assert found["state"] == "finished", found["reason"]
        return place.folder / "results" / job_id

    return make


def test_a_cyclic_round_continues_without_it(run):
    folder = run("train", workflow="Cyclic", rounds=2)
    assert read_file(folder / "server" / "global_model.safetensors")["w"].tolist() == [2 * (10.0 + 1000.0)] * 3


@pytest.mark.at_length
def test_models_are_compared_without_it(run):
    folder = run("submit_model", workflow="CrossSiteEval", rounds=None, model={"w": np.ones(3)})
    results = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    models = {site: {name: values["value"] for name, values in each.items()} for site, each in results.items()}
    rest = {"global": 1.0, "site-1": 10.0, "site-3": 1000.0}
    assert models == {"site-1": rest, "site-2": {"global": 1.0}, "site-3": rest}


def test_models_are_compared_once_a_required_site_is_back(run):
    folder = run("submit_model", returns=True, workflow="CrossSiteEval", rounds=None, min_clients=3)
    models = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    assert all(set(of_site) >= {"site-1", "site-2", "site-3"} for of_site in models.values())


@pytest.mark.at_length
def test_a_cyclic_round_waits_for_a_required_site(run):
    folder = run("train", returns=True, workflow="Cyclic", rounds=2, min_clients=3)
    model = read_file(folder / "server" / "global_model.safetensors")
    assert model["w"].tolist() == [2 * (10.0 + 100.0 + 1000.0)] * 3


def test_a_job_that_ends_while_a_site_is_away_leaves_no_code_there(hospital):
    place = hospital()
    asked = threading.Event()

    def decide(site, pid, times):
        asked.set()
        threading.Event().wait(30)  # until the job is aborted

    with place.admin() as admin:
        job_id = admin.submit(place.noise_job(place.gate(decide), gated_round=0))["id"]
        assert asked.wait(30)
        code = place.kit("site-2") / "jobs" / job_id / "app"
        assert code.is_dir()
        place.end("site-2")
        admin.abort(job_id)
        assert admin.wait(job_id, timeout_s=30)["state"] == "aborted"
    place.restart("site-2")  # which returns when it is connected
    assert not code.exists()


@pytest.mark.at_length
def test_a_job_that_ended_before_a_site_could_start_it_is_not_started_there(hospital):
    place = hospital()
    process = place.poc.status()["site-2"]
    os.kill(process, signal.SIGSTOP)  # so that the start and the end of the job reach it at the same time
    try:
        with place.admin() as admin:
            job_id = admin.submit(place.noise_job())["id"]
            place.wait_for_events(job_id, {"event": "RunStarted"})
            admin.abort(job_id)
            assert admin.wait(job_id, timeout_s=30)["state"] == "aborted"
    finally:
        os.kill(process, signal.SIGCONT)
    place.run(place.noise_job())
    place.stop("site-2")  # which returns when it has done what it was doing
    folder = place.kit("site-2") / "jobs" / job_id
    assert folder.is_dir()
    assert not (folder / "app").exists()
