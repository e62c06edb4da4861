"""The evaluation of a swarm's models at real sites, and after a crash of the server in the middle of it."""

from __future__ import annotations

import json
import textwrap
import threading

import numpy as np
import pytest

from flare_core.recipes import add_cross_site_evaluation
from flare_recipes_np import SwarmLearningRecipe

pytestmark = [pytest.mark.slow, pytest.mark.deployed]

SCRIPT = """
    import os
    import socket
    import sys

    import flare_core.client as flare

    flare.init()
    name = flare.get_site_name()
    while flare.is_running():
        model = flare.receive()
        if flare.is_evaluate():
            if sys.argv[1:]:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(sys.argv[1])
                    connection.sendall(f"{name} {os.getpid()}".encode())
                    connection.recv(1)
            flare.send(flare.FLModel(metrics={"sum": float(model.params["w"].sum()) * 10 + int(name[-1])}))
        else:
            flare.send(flare.FLModel(params={"w": model.params["w"] + int(name[-1])}))
"""


def job(folder, gate=""):
    folder.mkdir()
    (folder / "client.py").write_text(textwrap.dedent(SCRIPT))
    recipe = SwarmLearningRecipe(
        min_clients=2,
        num_rounds=3,
        initial_model={"w": np.zeros(2)},
        train_script=str(folder / "client.py"),
        train_args=gate,
    )
    add_cross_site_evaluation(recipe, models=["global"])
    return recipe.job()


def test_the_models_at_the_sites_are_evaluated_after_a_crash_of_the_server(hospital, tmp_path):
    place = hospital()
    first = threading.Event()

    def decide(site, pid, times):
        if site == "site-1" and times == 1:
            first.set()
            threading.Event().wait(30)  # until it is killed

    with place.admin() as admin:
        job_id = admin.submit(job(tmp_path / "killed", str(place.gate(decide).path)))["id"]
    assert first.wait(30)
    place.strike("server job")
    found, digest = place.result(job_id)
    assert (found["state"], digest) == ("finished", ""), found  # the server has no model
    folder = place.folder / "results" / job_id
    scores = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    assert scores == {"site-1": {"global": {"sum": 91.0}}, "site-2": {"global": {"sum": 92.0}}}
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 4
