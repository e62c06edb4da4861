"""The code samples of the notes on release 2.7.2, old and new spelling, in release_notes/; fragments are completed."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

SAMPLES = Path(__file__).parent / "release_notes"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run all samples with recipes, in one process, and return the folder of the results."""
    folder = tmp_path_factory.mktemp("notes") / "samples"
    shutil.copytree(SAMPLES, folder)
    code = (
        "import runpy, sys, nvflare.recipe.sim_env as env\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "for name in sys.argv[1:]:\n"
        f"    env.SimEnv.__init__.__kwdefaults__['workspace_root'] = {str(folder)!r} + '/results/' + name\n"
        f"    runpy.run_path({str(folder)!r} + '/' + name, run_name='__main__')\n"
    )
    names = [path.name for path in sorted(SAMPLES.glob("recipe_*.py"))]
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=110)
    assert done.returncode == 0, done.stderr
    return folder / "results"


@pytest.mark.parametrize("name", ["recipe_initial_model.py", "recipe_model.py", "recipe_after_executors.py"])
def test_a_recipe_trains_a_model(results, name):
    (model,) = (results / name).glob("*/server/simulate_job/app_server/FL_global_model.pt")
    saved = torch.load(model, weights_only=True)
    assert set(saved["model"]) == {"layer.weight", "layer.bias"}


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("controller_early_stopping.py", "controller.py", ("PTFedAvgEarlyStopping", "PTFedAvg")),
        ("task_to_optimize.py", "task_name.py", ("task_to_optimize", "task_name")),
    ],
)
def test_an_old_name_works_and_the_warning_names_the_new_one(old, new, names):
    with pytest.warns(DeprecationWarning, match=f"{names[0]} .*{names[1]}"):
        before = runpy.run_path(str(SAMPLES / old))["controller"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = runpy.run_path(str(SAMPLES / new))["controller"]
    assert isinstance(before, type(after))
    assert before.task_name == after.task_name


def test_an_executor_can_still_be_made():
    runpy.run_path(str(SAMPLES / "executor.py"))
