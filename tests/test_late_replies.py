"""Replies after the last round: they are not wanted, and their scripts must be told."""

from __future__ import annotations

import json

import numpy as np
import pytest

TRAIN = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
    print("the script has ended")
"""
LARGE = 100_000  # numbers, enough that a site holds its reply until the server has fetched it


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [10, LARGE])
def test_a_simulation_with_a_quorum_ends(project, size):
    recipe = project.recipe(TRAIN, min_clients=3, quorum=3, num_rounds=12, initial_model=np.zeros(size))
    run = recipe.execute(project.env(num_clients=6, num_threads=1))
    folder = run.get_result()
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 12
    for site in (folder / "sites").iterdir():
        assert "the script has ended" in (site / "log.txt").read_text()
