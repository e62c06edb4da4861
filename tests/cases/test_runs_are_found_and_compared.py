"""Runs of a workspace can be listed and compared later, even after their folders have moved."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from flare_core import JobError
from flare_core.components import Component
from flare_core.filters import Filter
from flare_runtime import list_runs

SCRIPT = """
    import sys

    import flare_core.client as flare

    flare.init()
    lr = float(sys.argv[1])
    while flare.is_running():
        model = flare.receive()
        params = {key: value + lr for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": lr * (model.current_round + 1)}))
"""


def run(project, lr: str, **arguments):
    return project.recipe(SCRIPT, train_args=lr, **arguments).execute(project.env(), raise_on_failure=False)


def flare(project, *words: str, code: int = 0) -> str:
    done = project.python("-m", "flare_deploy.cli", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def strict(text: str):
    """Read JSON as a strict parser does."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_runs_are_listed_newest_first_with_their_parameters(project):
    run(project, "0.1", num_rounds=2, name="first")
    run(project, "0.2", num_rounds=3, name="second", seed=7)
    second, first = list_runs(project.folder / "runs")
    assert (first.job, second.job) == ("first", "second")
    assert (second.status, second.rounds, second.sites) == ("finished", 3, ("site-1", "site-2"))
    assert second.best == {"round": 2, "value": pytest.approx(0.6)}
    assert second.curves()["accuracy"] == pytest.approx({0: 0.2, 1: 0.4, 2: 0.6})
    assert second.recipe["class"] == "flare_recipes_np.FedAvgRecipe"
    arguments = second.recipe["arguments"]
    assert (arguments["seed"], arguments["train_args"], arguments["num_rounds"]) == (7, "0.2", 3)
    assert arguments["initial_model"] == "numpy.ndarray"
    assert set(second.models) == {"global", "best"}


def test_a_comparison_shows_the_parameters_that_differ_and_nothing_else(project):
    run(project, "0.1", num_rounds=2, name="case")
    run(project, "0.2", num_rounds=3, name="other")
    found = strict(flare(project, "runs", "compare", "case", "other", "--format", "json"))
    assert found["differences"] == {"name": ["case", "other"], "num_rounds": [2, 3], "train_args": ["0.1", "0.2"]}
    assert found["metric"] == "accuracy"
    first, second = found["metrics"]["accuracy"]
    assert [each["value"] for each in first["rounds"]] == pytest.approx([0.1, 0.2])
    assert second["highest"] == {"round": 2, "value": pytest.approx(0.6)}
    text = flare(project, "runs", "compare", "case", "other")
    assert "num_rounds  2     3" in text
    assert "min_clients" not in text
    assert text.count("accuracy by round") == 3  # the table and a plot for each


def test_a_comparison_shows_that_a_script_was_edited(project):
    run(project, "0.1")
    project.recipe(SCRIPT + "    # a line more\n", train_args="0.1").execute(project.env())
    newest, oldest = list_runs(project.folder / "runs")
    text = flare(project, "runs", "compare", oldest.folder.name, newest.folder.name, "--format", "json")
    differences = strict(text)["differences"]
    assert list(differences) == ["code client.py"]
    assert len(set(differences["code client.py"])) == 2


class Shift(Filter):
    """Adds a number to a model."""

    def __init__(self, by: float) -> None:
        self.by = by

    def process(self, model, context):
        return model


def test_added_filters_are_parameters_too(project):
    for by in (0.1, 0.2):
        recipe = project.recipe(SCRIPT, train_args="0.1")
        recipe.add_client_output_filter(Shift(by))
        recipe.execute(project.env())
    newest, oldest = (each.recipe["added"]["sites task_result_filters"] for each in list_runs(project.folder / "runs"))
    assert (newest[0]["args"], oldest[0]["args"]) == ({"by": 0.2}, {"by": 0.1})
    name = next(iter(list_runs(project.folder / "runs"))).folder.name
    other = list_runs(project.folder / "runs")[1].folder.name
    found = strict(flare(project, "runs", "compare", name, other, "--format", "json"))
    assert list(found["differences"]) == ["sites task_result_filters"]


def test_secrets_are_not_recorded(project):
    arguments = "0.1 --url https://me:hunter2@host/x?token=hunter3&a=1 --password hunter4 --api-key=hunter5"
    secrets = {"db_password": "hunter6", "plain": "seen"}
    run(project, arguments, per_site_config={"site-1": {"config": secrets}})
    (found,) = list_runs(project.folder / "runs")
    recorded = (found.folder / "summary.json").read_text()
    assert "hunter" not in recorded
    assert "https://me:***@host/x?token=***&a=1" in recorded
    assert "seen" in recorded


def test_a_moved_workspace_reports_the_current_paths_of_its_files(project):
    done = run(project, "0.1")
    before = done.get_result()
    (project.folder / "runs").rename(project.folder / "moved")
    (found,) = list_runs(project.folder / "moved")
    assert all(path.is_file() for path in found.models.values())
    assert found.folder == project.folder / "moved" / "case" / before.name
    shown = strict(flare(project, "runs", "show", str(found.folder), "--format", "json"))
    assert shown["models"]["global"] == str(found.models["global"])


def test_a_summary_reports_the_current_paths_of_its_files(project):
    done = run(project, "0.1")
    folder = done.get_result()
    (folder / "server" / "best_model.safetensors").unlink()
    assert done.summary()["best_model"] is None


def test_failed_and_killed_runs_are_listed_as_such(project):
    run(project, "nonsense", name="failing")
    run(project, "0.1", name="killed", num_rounds=2).get_result().joinpath("summary.json").unlink()
    found = {each.job: each for each in list_runs(project.folder / "runs")}
    assert (found["failing"].status, found["failing"].rounds) == ("failed", 0)
    assert "nonsense" in found["failing"].error
    assert (found["killed"].status, found["killed"].rounds) == ("unfinished", 2)
    text = flare(project, "runs", "--status", "failed")
    assert "failing/" in text
    assert "killed/" not in text


def test_a_damaged_summary_hides_no_run(project):
    folder = run(project, "0.1").get_result()
    (folder / "summary.json").write_text("{")
    (found,) = list_runs(project.folder / "runs")
    assert found.status == "unfinished"
    assert "summary.json is no JSON" in found.error
    assert "case/" in flare(project, "runs")


def test_a_run_that_cannot_start_says_so_in_its_folder(project):
    job = project.recipe(SCRIPT).job()
    job.server.components["broken"] = Component("nowhere.Observer")
    with pytest.raises(JobError):
        project.env().deploy(job)
    (found,) = list_runs(project.folder / "runs")
    assert found.status == "failed"
    assert "nowhere" in found.error


def test_missing_runs_are_named(project):
    assert "no runs in" in flare(project, "runs")
    assert "is not a folder" in flare(project, "runs", "--workspace", "nowhere", code=2)
    run(project, "0.1")
    assert "there is no run 'other'" in flare(project, "runs", "show", "other", code=1)
    assert "give two or more runs" in flare(project, "runs", "compare", "case", code=2)
    shutil.copytree(project.folder / "runs" / "case", project.folder / "runs" / "twin")
    (name,) = {each.folder.name for each in list_runs(project.folder / "runs")}
    assert "could be" in flare(project, "runs", "show", name, code=1)
    assert "none of these runs has the metric 'f1'" in flare(
        project, "runs", "compare", "case", f"twin/{name}", "--metric", "f1", code=2
    )


def test_runs_without_metrics_and_models_can_be_compared(project):
    script = SCRIPT.replace(', metrics={"accuracy": lr * (model.current_round + 1)}', "")
    for _ in range(2):
        project.recipe(script, train_args="0", initial_model=np.zeros(2)).execute(project.env())
    newest, oldest = list_runs(project.folder / "runs")
    text = flare(project, "runs", "compare", newest.id, oldest.id)
    assert "equal parameters and code" in text
    assert strict(flare(project, "runs", "compare", newest.id, oldest.id, "--format", "json"))["metric"] is None
