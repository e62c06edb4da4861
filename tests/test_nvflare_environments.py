"""A recipe with NVIDIA FLARE's names, with the same script in all environments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flare_core import JobFailed
from flare_core.job_folder import load_job
from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv, SimEnv

CLIENT = """
import nvflare.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    print('trained')
    array = model.params["numpy_key"] + 1
    flare.send(flare.FLModel(params={"numpy_key": array}, metrics={"accuracy": float(array.mean())}))
"""


def recipe_in(folder: Path) -> NumpyFedAvgRecipe:
    (folder / "client.py").write_text(CLIENT)
    return NumpyFedAvgRecipe(
        name="job", min_clients=2, num_rounds=2, model=[1.0, 2.0], train_script=str(folder / "client.py")
    )


def test_in_the_simulator(tmp_path):
    run = recipe_in(tmp_path).execute(SimEnv(num_clients=2, workspace_root=str(tmp_path / "runs")))
    folder = Path(run.get_result())
    assert run.get_status() == "FINISHED:COMPLETED"
    assert np.load(folder / "server/simulate_job/models/server.npy").tolist() == [3.0, 4.0]


@pytest.mark.deployed
def test_a_failure_in_processes_has_its_errors_in_the_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_WORKSPACE", str(tmp_path / "runs"))
    recipe = recipe_in(tmp_path)
    script = tmp_path / "client.py"
    script.write_text(script.read_text().replace("print('trained')", "raise OSError('the disk is full')"))
    with pytest.raises(JobFailed, match="the disk is full"):
        recipe.execute(PocEnv(num_clients=2)).get_result(timeout=300.0)
    (log,) = (tmp_path / "runs").glob("job/*/workspace/error_log.txt")
    assert "the disk is full" in log.read_text()
    assert (log.parent / "site-1" / "error_log.txt").is_file()


@pytest.mark.deployed
def test_in_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("FLARE_WORKSPACE", str(tmp_path / "runs"))
    run = recipe_in(tmp_path).execute(PocEnv(num_clients=2))
    folder = Path(run.get_result(timeout=100.0))
    assert run.get_status() == "FINISHED:COMPLETED"
    assert np.load(folder / "workspace/models/server.npy").tolist() == [3.0, 4.0]
    assert load_job(folder / "job/job").name == "job"
    assert (folder / "workspace/app_server/custom/initial_model.safetensors").is_file()
    assert sorted(each.name for each in (folder / "nvflare/site-1/simulate_job/app_site-1/custom").iterdir()) == [
        "client.py"
    ]
    assert "trained" in (folder / "workspace/site-2/log.json").read_text()
