"""Rounds that end with a quorum, in a federation whose processes are killed."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest


@pytest.mark.parametrize(
    "victim", ["the server's process", pytest.param("a site's process", marks=pytest.mark.at_length)]
)
def test_the_run_continues(hospital, victim):
    place = hospital(3)
    dead = threading.Event()

    def decide(site, pid, times):
        if site == "site-2" and not dead.is_set():  # the others need not wait for it
            dead.set()
            os.kill(place.job_process() if victim == "the server's process" else pid, signal.SIGKILL)

    job = place.noise_job(place.gate(decide), gated_round=0, rounds=30, min_clients=1)
    job.server.workflows[0].args.update(quorum=2, staleness_exponent=0.5)
    found, digest = place.run(job)
    assert found["state"] == "finished", found["reason"]
    assert dead.is_set()
    assert digest
    folder = place.folder / "results" / found["id"]
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 30
    taken = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for round_ in range(30):
        sites = [row["site"] for row in taken if row["round"] == round_ and row["site"] and row["key"] == "accuracy"]
        assert sites, f"round {round_} has taken nothing"
        assert len(sites) == len(set(sites)), "a site counts once a round"
