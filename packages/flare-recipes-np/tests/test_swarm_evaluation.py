"""The models of a swarm, which its server never has, are evaluated at all sites."""

import json
import textwrap

import numpy as np
import pytest

from flare_core import JobFailed, RecipeError
from flare_core.components import Component
from flare_core.recipes import add_cross_site_evaluation
from flare_recipes_np import SwarmLearningRecipe
from flare_runtime import SimEnv

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    number, own = int(flare.get_site_name()[-1]), None
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send({reply})
        elif flare.is_evaluate():
            flare.send(flare.FLModel(metrics={{"sum": float(model.params["w"].sum()) * 10 + number}}))
        else:
            own = {{"w": model.params["w"] + number}}
            flare.send(flare.FLModel(params=own, metrics={{"sum": float(model.params["w"].sum())}}))
    """


def swarm(tmp_path, reply="flare.FLModel(params=own)"):
    (tmp_path / "client.py").write_text(textwrap.dedent(SCRIPT.format(reply=reply)))
    return SwarmLearningRecipe(
        min_clients=2,
        num_rounds=3,
        initial_model={"w": np.zeros(2)},
        train_script=str(tmp_path / "client.py"),
        key_metric="sum",
    )


def run(recipe, tmp_path):
    done = recipe.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs"))
    folder = done.get_result()
    found = json.loads((folder / "server" / "cross_site_evaluation.json").read_text())
    sums = {site: {name: metrics["sum"] for name, metrics in models.items()} for site, models in found.items()}
    return folder, sums


def test_every_site_evaluates_every_model_and_the_server_has_none(tmp_path):
    recipe = swarm(tmp_path)
    add_cross_site_evaluation(recipe)
    folder, sums = run(recipe, tmp_path)
    # A round adds 1.5 to both numbers. The best model is the one with which the last round began, to which the sites
    # have added 1 and 2 in their own.
    models = {"global": 9.0, "best": 6.0, "site-1": 8.0, "site-2": 10.0}
    assert sums == {
        f"site-{number}": {name: value * 10 + number for name, value in models.items()} for number in (1, 2)
    }
    assert [path.name for path in (folder / "server").iterdir()] == ["cross_site_evaluation.json"]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["warnings"], summary["metrics"]["global/sum"]) == ([], 91.5)


def test_models_can_be_chosen(tmp_path):
    recipe = swarm(tmp_path)
    add_cross_site_evaluation(recipe, models=["global"], participating_clients=["site-2"])
    _, sums = run(recipe, tmp_path)
    assert sums == {"site-2": {"global": 92.0}}


def test_a_site_without_a_model_of_its_own_is_named(tmp_path):
    recipe = swarm(tmp_path, reply="flare.FLModel(metrics={})")
    add_cross_site_evaluation(recipe, models=["sites", "global"])
    folder, sums = run(recipe, tmp_path)
    assert sums["site-1"] == {"global": 91.0}
    warnings = json.loads((folder / "summary.json").read_text())["warnings"]
    assert [f"site-{number} submitted no model" in warnings[number - 1] for number in (1, 2)] == [True, True]


def test_a_difference_is_refused(tmp_path):
    recipe = swarm(tmp_path, reply='flare.FLModel(params=own, params_type="DIFF")')
    add_cross_site_evaluation(recipe)
    with pytest.raises(JobFailed, match="site-1 replied to 'submit_model' with a difference"):
        run(recipe, tmp_path)


def test_other_workflows_still_need_a_model_of_the_server(tmp_path):
    with pytest.raises(RecipeError, match="Distribution needs the server's model"):
        swarm(tmp_path).add_workflow(Component("flare_core.workflows.Distribution"))
