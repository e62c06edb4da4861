"""The best model belongs to a completed round: one saved by a round that restarted does not count."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from flare_recipes_np import FedAvgRecipe
from flare_tensor_downloader import read_file

MEASURES_OTHERWISE_AFTERWARDS = """
    import sys
    from pathlib import Path
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        accuracy = [0.5, 0.1 if Path(sys.argv[1]).exists() else 0.9, 0.2][model.current_round]
        flare.send(flare.FLModel(params={"w": model.params["w"] + 1}, metrics={"accuracy": accuracy}))
"""

KILLER = """
    import os
    import signal
    from pathlib import Path

    from flare_core import Observer
    from flare_core.events import ModelSaved


    class Killer(Observer):
        def __init__(self, note):
            self.note = Path(note)

        def attach(self, run):
            run.events.subscribe(ModelSaved, self.saved)

        def saved(self, event):
            if event.name == "best" and event.round == 1 and not self.note.exists():
                self.note.touch()
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "size", [pytest.param(3, id="small", marks=pytest.mark.at_length), pytest.param(3_000_000, id="large")]
)
def test_the_best_model_belongs_to_its_score(project, hospital, size):
    place = hospital()
    note = project.folder / "killed"
    made = FedAvgRecipe(
        name="best",
        min_clients=2,
        num_rounds=3,
        initial_model={"w": np.full(size, 7.0)},
        train_script=project.write("client.py", MEASURES_OTHERWISE_AFTERWARDS),
        train_args=[str(note)],
    )
    made.add_server_file(project.write("killer.py", KILLER))
    made.add_server_component("killer", {"class_path": "killer.Killer", "args": {"note": str(note)}})
    with place.admin() as admin:
        job = admin.submit(made.job())["id"]
    found, _ = place.result(job)
    assert found["state"] == "finished", found["reason"]
    assert os.path.exists(note)
    folder = place.folder / "results" / job
    assert json.loads((folder / "summary.json").read_text())["best"] == {"round": 0, "value": 0.5}
    assert set(read_file(folder / "server" / "best_model.safetensors")["w"][:3].tolist()) == {7.0}
    assert set(read_file(folder / "server" / "global_model.safetensors")["w"][:3].tolist()) == {10.0}
