"""A run's model, metrics and summary are never mistaken for something else."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from flare_core import Evaluator, FlareError, JobFailed, RunStatus
from flare_recipes_np import CyclicRecipe
from flare_runtime.display import plot
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.record import write_summary

SCRIPT = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        round_ = model.current_round
        metrics = {}
        BODY
        params = {key: value + 1 for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics=metrics))
"""


def run(project, body: str = "pass", **arguments):
    script = SCRIPT.replace("BODY", body)
    return project.recipe(script, **arguments).execute(project.env(), raise_on_failure=False)


def strict(text: str):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_failed_run_does_not_hand_out_its_model_as_a_result(project):
    failed = run(project, "1 / (2 - round_)", num_rounds=5)
    assert failed.get_status() is RunStatus.FAILED
    with pytest.raises(JobFailed, match=r"failed after 2 rounds; its model is that of the last round .* returns it"):
        failed.load_model()
    kept = failed.load_model(raise_on_failure=False)["numpy_key"]
    assert kept.tolist() == [2.0, 2.0]


def test_a_run_that_failed_in_its_first_round_says_that_its_model_is_the_initial_one(project):
    failed = run(project, "1 / 0")
    with pytest.raises(JobFailed, match="failed after 0 rounds; its model is the one that it began with"):
        failed.load_model()
    assert failed.load_model(raise_on_failure=False)["numpy_key"].tolist() == [0.0, 0.0]
    with pytest.raises(FlareError, match="kept no 'best' model: no round was completed"):
        failed.load_model("best", raise_on_failure=False)


@pytest.mark.parametrize(
    ("body", "arguments", "reason"),
    [
        ("metrics['loss'] = 0.5", {}, r"no site reported a finite number for its key_metric 'accuracy' \(.* loss\)"),
        ("pass", {}, r"finite number for its key_metric 'accuracy' \(the run has no metrics\)"),
        ("metrics['accuracy'] = 0.5", {"key_metric": None}, "its recipe chooses none, as it has no key_metric"),
        ("metrics['accuracy'] = float('nan')", {}, "no site reported a finite number for its key_metric 'accuracy'"),
    ],
)
def test_the_reason_for_a_missing_best_model_is_reported(project, body, arguments, reason):
    done = run(project, body, **arguments)
    with pytest.raises(FlareError, match=reason):
        done.load_model("best")
    done.load_model()


def test_a_workflow_that_chooses_no_best_model_says_so(project):
    path = project.write("client.py", SCRIPT.replace("BODY", "metrics['accuracy'] = 0.5"))
    recipe = CyclicRecipe(name="case", min_clients=2, num_rounds=1, initial_model=np.zeros(2), train_script=path)
    with pytest.raises(FlareError, match="kept no 'best' model: its recipe chooses none"):
        recipe.execute(project.env()).load_model("best")


def test_a_model_by_an_unknown_name_is_refused(project):
    with pytest.raises(FlareError, match="asked for 'last'; a run keeps the models global and best"):
        run(project).load_model("last")


def test_the_best_value_is_shown_under_its_own_metrics_name(project, capsys):
    run(project, "metrics.update({'accuracy': 0.9} if round_ == 0 else {}, loss=0.25)", num_rounds=2)
    printed = capsys.readouterr().out
    assert "best      round 0: accuracy 0.9" in printed
    assert "loss 0.9" not in printed


def test_numbers_of_any_kind_and_name_are_recorded_and_other_values_are_named(project, capsys):
    done = run(
        project,
        "metrics.update(bad=float('nan'), big=float('-inf'), np=np.float32(0.5), note='fine', round=3, key=4)",
    )
    values = {row["key"]: row["value"] for row in done.metrics() if row["site"] == "site-1"}
    assert values == {"np": 0.5, "round": 3, "key": 4}
    folder = done.get_result()
    strict((folder / "summary.json").read_text())
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        strict(line)
    lines = capsys.readouterr().out.splitlines()
    printed = "\n".join(line for line in lines if line.startswith("warning: "))  # the summary has them once more
    assert printed.count("site-1: metric 'bad' is nan") == printed.count("site-1: metric 'big' is -inf") == 1
    assert (
        printed.count("site-1: metric 'note' is 'fine', not a number, and is ignored; use flare.log() to record text")
        == 1
    )


def test_logged_values_that_are_not_finite_come_back_as_they_were(project):
    done = run(project, "flare.log('bad', float('nan')); flare.log('big', float('-inf')); flare.log('note', 'fine')")
    values = {row["key"]: row["value"] for row in done.metrics() if row["site"] == "site-1"}
    assert math.isnan(values["bad"])
    assert values["big"] == -math.inf
    assert values["note"] == "fine"


class NotFinite(Evaluator):
    """Reports NaN for every model."""

    def evaluate(self, model):
        return {"accuracy": float("nan"), "loss": float("inf")}


def test_a_summary_with_nan_is_strict_json_and_its_plot_names_omitted_values(project, capsys):
    folder = run(project, num_rounds=3, evaluator=NotFinite()).get_result()
    summary = strict((folder / "summary.json").read_text())
    assert summary["metrics"] == {"accuracy": "nan", "loss": "inf"}
    assert "3 rounds without a finite value left out" in capsys.readouterr().out


def test_values_that_json_cannot_represent_are_text_in_a_summary(tmp_path):
    write_summary(
        tmp_path / "summary.json", {"value": float("nan"), "nested": [{"x": np.float32("inf")}], "at": tmp_path}
    )
    found = strict((tmp_path / "summary.json").read_text())
    assert found == {"value": "nan", "nested": [{"x": "inf"}], "at": str(tmp_path)}


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0.5, 0.5, 0.5], ["0.5"]), ([0.5], ["0.5"]), ([0.1, math.nan, 0.9], ["0.9", "0.1"])],
    ids=["constant", "one", "with NaN"],
)
def test_a_plot_is_drawn_for_any_values(values, labels):
    lines = plot(list(enumerate(values)), title="loss")
    assert [
        each.partition("┤")[0].strip() for each in lines if "┤" in each and each.partition("┤")[0].strip()
    ] == labels
    assert plot([(0, math.nan)], title="loss") == ["     loss by round (1 round without a finite value left out)"]


def test_a_run_is_shown_with_its_name_its_status_and_its_folder(project):
    done = run(project)
    assert repr(done) == f"<SimRun {done.get_job_id()}: finished, {done.get_result()}>"
    assert repr(run(project, "1 / 0")).startswith("<SimRun case/")


def test_two_runs_with_one_name_have_separate_folders(tmp_path):
    first, second = (RunFolder.create(tmp_path, "job", "20260102-101500") for _ in range(2))
    assert [first.run_id, second.run_id] == ["20260102-101500", "20260102-101500-2"]


def test_ctrl_c_is_reported_in_words(project):
    project.write("client.py", SCRIPT.replace("BODY", "pass"))
    project.write(
        "job.py",
        """
        import os, signal
        import numpy as np
        from flare_core import Observer
        from flare_core.events import RoundEnded
        from flare_recipes_np import FedAvgRecipe
        from flare_runtime import SimEnv

        class Interrupts(Observer):
            def attach(self, run):
                run.events.subscribe(RoundEnded, lambda event: os.kill(os.getpid(), signal.SIGINT))

        recipe = FedAvgRecipe(
            name="case", min_clients=2, num_rounds=50, initial_model=np.zeros(2), train_script="client.py"
        )
        recipe.add_server_component("interrupts", Interrupts())
        recipe.execute(SimEnv(num_clients=2))
        """,
    )
    done = project.python("job.py")
    assert done.returncode != 0
    assert "because   it was interrupted with Ctrl-C" in done.stdout
    (summary,) = (project.folder / "runs" / "case").glob("*/summary.json")
    assert strict(summary.read_text())["error"] == "it was interrupted with Ctrl-C"
