"""A received model belongs to the script: it is freed when the script drops it, and never changed by a later one."""

from __future__ import annotations

import numpy as np
import pytest

ROUNDS = 5

DROPS = """
    import weakref

    import flare_core.client as flare

    flare.init()
    last = None
    while flare.is_running():
        model = flare.receive()
        assert last is None or last() is None, "the model of the round before is still in memory"
        model.params["w"] += 1.0
        last = weakref.ref(model.params["w"])
        flare.send(model)
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
def test_a_model_that_the_script_drops_is_freed_before_the_next_arrives(project, external):
    job = project.job(DROPS, rounds=ROUNDS, model={"w": np.zeros(100_000)}, launch_external_process=external)
    run = project.env(2, num_threads=2).deploy(job)
    assert (run.load_model()["w"] == ROUNDS).all()


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_model_that_the_script_keeps_does_not_change(project, workers, external):
    job = project.job(KEEPS, rounds=ROUNDS, sites=3, model={"w": np.zeros(100_000)}, launch_external_process=external)
    run = project.env(3, num_threads=workers, share_processes=workers == 1).deploy(job)
    assert (run.load_model()["w"] == ROUNDS).all()
    for site in ("site-1", "site-2", "site-3"):
        assert f"looked at {ROUNDS}" in (run.get_result() / "sites" / site / "log.txt").read_text()
