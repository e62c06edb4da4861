"""A model is received into the memory of the one before, unless a script still looks at that."""

from __future__ import annotations

import json

import numpy as np
import pytest

ROUNDS = 5

LETS_GO = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        model.params["w"] += 1.0
        flare.send(flare.FLModel(params=model.params, metrics={"at": model.params["w"].ctypes.data}))
"""

KEEPS = """
    import flare_core.client as flare

    flare.init()
    kept = []
    while flare.is_running():
        model = flare.receive()
        kept.append((model.current_round, model.params["w"][3:]))
        flare.send(flare.FLModel(params={"w": model.params["w"] + 1.0}))
    for round_, part in kept:
        assert (part == round_).all(), f"what came in round {round_} is {part} now"
    print("looked at", len(kept))
"""


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
def test_a_script_that_lets_go_of_it_gets_the_same_memory(project, external):
    job = project.job(LETS_GO, rounds=ROUNDS, model={"w": np.zeros(100_000)}, launch_external_process=external)
    run = project.env(2, num_threads=2).deploy(job)
    assert (run.load_model()["w"] == ROUNDS).all()
    rows = map(json.loads, (run.get_result() / "metrics.jsonl").read_text().splitlines())
    places = {(row["site"], row["value"]) for row in rows if row["key"] == "at" and row["site"] is not None}
    assert len(places) == 2, "one at each site"


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_script_keeps_stays_what_it_was(project, workers, external):
    job = project.job(KEEPS, rounds=ROUNDS, sites=3, model={"w": np.zeros(100_000)}, launch_external_process=external)
    run = project.env(3, num_threads=workers, share_processes=workers == 1).deploy(job)
    assert (run.load_model()["w"] == ROUNDS).all()
    for site in ("site-1", "site-2", "site-3"):
        assert f"looked at {ROUNDS}" in (run.get_result() / "sites" / site / "log.txt").read_text()
