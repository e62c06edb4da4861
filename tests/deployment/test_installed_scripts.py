"""Scripts installed at the sites: accepted at real sites only, and refused with a message elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError
from flare_deploy import PocEnv, ProdEnv
from flare_recipes_np import FedAvgRecipe
from flare_runtime import SimEnv

SCRIPT = """
import flare_core.client as flare

flare.init()
while flare.is_running():
    model = flare.receive()
    flare.send(flare.FLModel(params={key: value + 1 for key, value in model.params.items()}))
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "installed" / "train.py"
    return path, FedAvgRecipe(min_clients=2, num_rounds=2, initial_model=np.zeros(2), train_script=path)


@pytest.mark.parametrize("env", [SimEnv, PocEnv])
def test_installed_scripts_are_refused_where_scripts_must_be_local(recipe, env):
    path, made = recipe
    with pytest.raises(RecipeError, match=f"'{path}' does not exist on this machine.*Only ProdEnv"):
        made.execute(env(num_clients=2))


def test_a_relative_path_must_exist(tmp_path):
    with pytest.raises(RecipeError, match=r"train_script 'no/train\.py' does not exist; looked for"):
        FedAvgRecipe(min_clients=2, num_rounds=2, initial_model=np.zeros(2), train_script="no/train.py")


def test_installed_scripts_run_at_real_sites(recipe, hospital, tmp_path):
    path, made = recipe
    place = hospital()
    env = ProdEnv(place.poc.admin, workspace_root=tmp_path / "runs")
    with pytest.raises(JobFailed, match=f"site-[12]: {path} is not installed here; the job expects it at every site"):
        made.execute(env).get_result()
    path.parent.mkdir()
    path.write_text(SCRIPT)
    run = made.execute(env)
    assert {float(value) for array in run.load_model().values() for value in np.ravel(array)} == {2.0}
    assert run.get_status() == "finished"
