"""Common properties of all recipes: names, order, defaults and meaning of arguments, and their effect."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import numpy as np
import pytest

from flare_core import JobFailed, ParamsType, RecipeError, UnknownArgumentError
from flare_core.job_folder import load_job
from flare_core.recipes.script import ScriptRecipe

COMMON = [
    "name", "min_clients", "num_rounds", "initial_model", "initial_ckpt", "train_script", "train_args",
    "launch_external_process", "command", "params_transfer_type", "per_site_config", "compression", "round_deadline_s",
    "reconnect_grace_s", "seed",
]  # fmt: skip
NUMPY = [
    "CrossSiteEvalRecipe", "CyclicRecipe", "FedAvgRecipe", "FedEvalRecipe", "FedOptRecipe", "ScaffoldRecipe",
    "SwarmLearningRecipe",
]  # fmt: skip

SCRIPT = """
    import os, sys
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    if "--die" in sys.argv and number == 2:
        raise ValueError("this site has no luck")
    rows = 0 if "--empty" in sys.argv and number == 1 else 10 * number
    own = {"w": np.ones(4)}
    while flare.is_running():
        model = flare.receive()
        metrics = {"accuracy": float(np.tanh(model.params["w"].mean()))} if model.params else None
        meta = {"NUM_STEPS_CURRENT_ROUND": rows}
        if flare.is_submit_model():
            flare.send(flare.FLModel(params=own))
        elif flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics, meta=meta))
        else:
            w = model.params["w"]
            own = {"w": w + np.random.default_rng(model.current_round * 10 + number).normal(size=4)}
            control = {"w": (w - own["w"]) / 10} if model.optimizer_params else None
            flare.send(flare.FLModel(params=own, optimizer_params=control, metrics=metrics, meta=meta))
"""


# In a separate process: in this one, TensorFlow would prevent all later tests from forking workers.
DESCRIBE = """
import inspect, json
from flare_core import Recipe
from flare_core.recipes.script import ScriptRecipe
from flare_deploy.cli.recipes import installed_recipes, recipe_arguments, recipe_example, recipe_summary

found = {}
for entry in installed_recipes():
    try:
        cls = entry.load()
    except ImportError:  # its framework is not installed in this environment
        continue
    parameters = inspect.signature(cls).parameters.values()
    found[f"{entry.module}.{entry.attr}"] = {
        "is_recipe": issubclass(cls, Recipe),
        "runs_a_script": issubclass(cls, ScriptRecipe),
        "summary": recipe_summary(cls),
        "example": recipe_example(cls),
        "arguments": recipe_arguments(cls),
        "untyped": [each.name for each in parameters if each.annotation is each.empty],
        "positional": [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY],
    }
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def recipes():
    printed = subprocess.run([sys.executable, "-c", DESCRIBE], check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    assert {f"flare_recipes_np.{name}" for name in NUMPY} <= set(found)
    return found


def test_arguments_have_the_same_names_order_and_defaults(recipes):
    defaults = {each.name: each.default for each in inspect.signature(ScriptRecipe).parameters.values()}
    for name, recipe in recipes.items():
        assert recipe["is_recipe"], name
        assert not recipe["positional"], name
        arguments = {each["name"]: each["default"] for each in recipe["arguments"]}
        assert list(arguments)[:2] == COMMON[:2], name
        if not recipe["runs_a_script"]:
            shared = set(COMMON[3:]) & set(arguments) - {"per_site_config"}
            assert all(arguments[argument] == repr(defaults[argument]) for argument in shared), name
            continue
        assert list(arguments)[: len(COMMON)] == COMMON, name
        for argument in set(COMMON) - {"name", "min_clients", "num_rounds", "train_script", "params_transfer_type"}:
            assert arguments[argument] == repr(defaults[argument]), (name, argument)
        assert (arguments["min_clients"], arguments["train_script"]) == (None, None), name
        assert arguments["params_transfer_type"] == "'FULL'", name


def test_every_argument_is_described_and_typed(recipes):
    for name, recipe in recipes.items():
        assert recipe["summary"], name
        assert not recipe["untyped"], name
        assert not [each["name"] for each in recipe["arguments"] if not each["help"]], name


def test_a_recipe_is_described_by_its_purpose_and_an_example(recipes):
    for name, recipe in recipes.items():
        package, _, cls = name.rpartition(".")
        first, _, rest = recipe["example"].partition("\n\n")
        assert first.startswith(f"from {package} import "), name
        assert cls in first, name
        assert rest.startswith(f"recipe = {cls}(\n"), name
        assert "initial_model" in recipe["summary"] or not recipe["runs_a_script"], name
        assert "add_" not in recipe["summary"], name  # a method that all recipes have
        assert "clients" not in recipe["summary"], name


@pytest.fixture
def make(project):
    script = project.write("client.py", SCRIPT)
    import flare_recipes_np

    def build(name, /, **arguments):
        values = {
            "min_clients": 2,
            "initial_model": {"w": np.zeros(4)},
            "train_script": script,
            **arguments,
        }
        return getattr(flare_recipes_np, name)(**values)

    return build


@pytest.mark.parametrize("name", NUMPY)
def test_each_argument_is_checked(make, name):
    for argument, value in {
        "name": "a/b", "min_clients": 0, "num_rounds": 0, "initial_model": "text", "initial_ckpt": "nowhere.npz",
        "train_script": "nowhere.py", "train_args": 5, "launch_external_process": "yes", "command": "",
        "params_transfer_type": "HALF", "per_site_config": {"server": {}}, "compression": "zip", "round_deadline_s": 0,
        "reconnect_grace_s": -1, "seed": -1,
    }.items():  # fmt: skip
        with pytest.raises(RecipeError, match=argument):
            make(name, **{argument: value})
    with pytest.raises(
        UnknownArgumentError, match=f"flare_recipes_np.{name} has no argument 'no_such_argument'; it has "
    ):
        make(name, no_such_argument=1)


@pytest.mark.parametrize("name", NUMPY)
def test_an_exported_job_does_what_the_recipe_does(make, project, tmp_path, name):
    recipe = make(name, train_args="--lr 0.1")
    exported = load_job(recipe.export(tmp_path / "jobs"))
    assert project.outcome(exported) == project.outcome(recipe) == project.outcome(recipe)


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("transfer", list(ParamsType))
def test_one_site_is_enough(make, project, name, transfer):
    outcome = project.outcome(make(name, min_clients=1, params_transfer_type=transfer), 1)
    assert np.isfinite(outcome.params["w"]).all()


@pytest.mark.parametrize("name", NUMPY)
def test_a_site_that_dies_is_named(make, project, name):
    with pytest.raises(JobFailed, match="site-2") as caught:
        project.outcome(make(name, train_args="--die"))
    assert "this site has no luck" in str(caught.value)


@pytest.mark.parametrize("name", NUMPY)
def test_a_site_without_data_takes_part(make, project, name):
    outcome = project.outcome(make(name, train_args="--empty"))
    assert np.isfinite(outcome.params["w"]).all()


def test_every_recipe_gives_the_same_result_in_the_simulator_and_across_processes(make, project, hospital):
    place = hospital()
    for name in NUMPY:
        recipe = make(name)
        assert place.outcome(recipe.job()) == project.outcome(recipe), name
