"""A run that stops early: its last round counts for the next workflow, and after a kill of the server."""

from __future__ import annotations

import json
import os
import signal
import threading

import numpy as np

from flare_core.recipes import add_cross_site_evaluation, add_model_distribution
from flare_recipes_np import FedAvgRecipe
from flare_tensor_downloader import read_file

ADDS_ONE = """
    import os
    import socket
    import sys
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params=own))
            continue
        value = float(model.params["w"][0])
        metrics = {"accuracy": value}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics))
            continue
        own = {"w": model.params["w"] + 1}
        flare.send(flare.FLModel(params=own, metrics=metrics))
    if len(sys.argv) > 1:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(sys.argv[1])
            connection.sendall(f"{flare.get_site_name()} {os.getpid()}".encode())
            connection.recv(1)
"""


def recipe(project, **arguments):
    return FedAvgRecipe(
        name="early",
        min_clients=2,
        num_rounds=9,
        initial_model={"w": np.zeros(3)},
        train_script=project.write("client.py", ADDS_ONE),
        stop_cond="accuracy >= 2",  # which the sites report in round 2, for the model of round 1
        **arguments,
    )


def run(place, made):
    with place.admin() as admin:
        job = admin.submit(made.job())["id"]
    found, _ = place.result(job)
    assert found["state"] == "finished", found["reason"]
    folder = place.folder / "results" / job
    return folder, read_file(folder / "server" / "global_model.safetensors")["w"].tolist()


def test_the_evaluated_and_distributed_models_are_the_last_ones(project, hospital):
    place = hospital()
    made = recipe(project)
    add_cross_site_evaluation(made)
    add_model_distribution(made)
    folder, model = run(place, made)
    assert model == [3.0] * 3
    found = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    assert {site: values["global"]["accuracy"] for site, values in found.items()} == {"site-1": 3.0, "site-2": 3.0}
    kept = place.kit("site-1") / "jobs" / folder.name / "run" / "sites" / "site-1" / "global_model.safetensors"
    assert read_file(kept)["w"].tolist() == [3.0] * 3


def test_a_server_killed_while_the_scripts_end_does_not_continue_training(project, hospital):
    place = hospital()
    dead = threading.Event()

    def decide(site, pid, times):
        if not dead.is_set():
            dead.set()
            os.kill(place.job_process(), signal.SIGKILL)
            threading.Event().wait(20)  # until its process is gone

    folder, model = run(place, recipe(project, train_args=[str(place.gate(decide).path)]))
    assert dead.is_set()
    assert model == [3.0] * 3
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 3
