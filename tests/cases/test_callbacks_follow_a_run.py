"""Callbacks of the user's follow the rounds of recipes and of other workflows, and go on after a crash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from flare_core import (
    BestModel,
    Callback,
    EarlyStopping,
    Evaluator,
    JobFailed,
    RecipeError,
    ServerEvaluation,
    WeightedMean,
    Workflow,
)
from flare_core.components import Component
from flare_core.job_folder import export_job, load_job
from flare_core.monitor import Monitor
from flare_recipes_np import FedAvgRecipe, FedOptRecipe, ScaffoldRecipe, SwarmLearningRecipe

ADD_ONE = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        sent = {key: value + 1 for key, value in model.params.items()}
        flare.send(flare.FLModel(params=sent, metrics={"accuracy": [0.5, 0.9, 0.7, 0.6, 0.8][model.current_round]}))
"""


class Diary(Callback):
    """Writes down what it is told, and ends the run after a round."""

    def __init__(self, path, last=99):
        self.path = Path(path)
        self.last = last

    def _write(self, *entry):
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def started(self, fed, model):
        self._write("started", model.params["numpy_key"][0])

    def replied(self, fed, reply, weight):
        self._write("replied", reply.site, reply.model.metrics["accuracy"], weight)

    def evaluate(self, fed, model):
        return {"size": float(model.params["numpy_key"][0])}

    def averaged(self, fed, outcome):
        self._write("averaged", outcome.round, outcome.received.params["numpy_key"][0], outcome.metrics)

    def round_ended(self, fed, outcome):
        self._write("round_ended", outcome.made.params["numpy_key"][0], sorted(outcome.server_metrics))
        if outcome.round == self.last:
            outcome.stop()

    def run_ended(self, fed):
        self._write("run_ended", fed.round)


def test_a_callback_of_a_recipe_is_told_what_happens_and_can_end_the_run(project):
    diary = project.folder / "diary"
    recipe = project.recipe(ADD_ONE, num_rounds=5, callbacks=[Diary(diary, last=1)])
    summary = recipe.execute(project.env()).summary()
    assert (summary["rounds"], summary["metrics"], summary["best"]["round"]) == (2, {"accuracy": 0.9, "size": 2.0}, 1)
    assert [json.loads(line) for line in diary.read_text().splitlines()] == [
        ["started", 0],
        ["replied", "site-1", 0.5, 1],
        ["replied", "site-2", 0.5, 1],
        ["averaged", 0, 0, {"accuracy": 0.5, "size": 1}],
        ["round_ended", 1, ["size"]],
        ["replied", "site-1", 0.9, 1],
        ["replied", "site-2", 0.9, 1],
        ["averaged", 1, 1, {"accuracy": 0.9, "size": 2}],
        ["round_ended", 2, ["size"]],
        ["run_ended", 1],
    ]


class Follows(Callback):
    """Ends the run in its second round."""

    def round_ended(self, fed, outcome):
        if outcome.round == 1:
            outcome.stop()


@pytest.mark.parametrize("kind", [FedOptRecipe, ScaffoldRecipe, SwarmLearningRecipe])
def test_a_callback_works_with_every_recipe_that_averages(project, kind):
    script = ADD_ONE.replace("params=sent", "params=sent, optimizer_params=model.optimizer_params")
    recipe = kind(
        name="case",
        min_clients=2,
        num_rounds=4,
        initial_model=np.zeros(2),
        train_script=project.write("client.py", script if kind is ScaffoldRecipe else ADD_ONE),
        callbacks=[Follows()],
    )
    assert recipe.execute(project.env()).summary()["rounds"] == 2


class Measures(Evaluator):
    """Likes a model of twos best."""

    def evaluate(self, model):
        return {"accuracy": -abs(float(model["numpy_key"][0]) - 2)}


class PlainMean(Workflow):
    """Averages, with whatever callbacks it is given."""

    def __init__(self, callbacks):
        self.callbacks = callbacks
        self.monitor = Monitor(callbacks)
        self.key_metric = self.monitor.key_metric

    def run(self, fed):
        model = fed.load()
        self.monitor.started(fed, model)
        for _ in fed.rounds(5):
            mean = WeightedMean()
            for reply in fed.broadcast("train", model, to=fed.sample(2)):
                mean.add(reply)
                self.monitor.replied(fed, reply)
            received, model = model, mean.update(model)
            self.monitor.averaged(fed, received, model)
            fed.save(model)
            if self.monitor.round_ended(fed):
                break
        self.monitor.run_ended(fed)


@pytest.mark.parametrize(
    ("callbacks", "rounds", "best", "model"),
    [
        ([BestModel()], 5, {"round": 1, "value": 0.9}, 1.0),  # the sites measured what they had received
        ([BestModel(), EarlyStopping("accuracy >= 0.9")], 2, {"round": 1, "value": 0.9}, 1.0),
        ([BestModel(), EarlyStopping(patience=2)], 4, {"round": 1, "value": 0.9}, 1.0),
        ([ServerEvaluation(Measures()), BestModel()], 5, {"round": 1, "value": 0.0}, 2.0),  # and it what was made
        ([ServerEvaluation(Measures()), BestModel(), EarlyStopping("accuracy >= 0")], 2, {"round": 1, "value": 0.0}, 2),
    ],
)
def test_any_workflow_can_have_callbacks(project, callbacks, rounds, best, model):
    job = project.recipe(ADD_ONE).job()
    job.server.workflows = [Component.of(PlainMean(callbacks), what="a workflow")]
    run = project.env().deploy(job)
    summary = run.summary()
    assert (summary["rounds"], summary["best"], summary["key_metric"]) == (rounds, best, "accuracy")
    assert run.load_model("best")["numpy_key"].tolist() == [model, model]


class Needy(Callback):
    """Needs a metric."""

    def reads(self):
        return ("auc",)


def test_the_run_warns_of_a_metric_that_a_callback_needs_and_nobody_reports(project):
    summary = project.recipe(ADD_ONE, callbacks=[Needy()]).execute(project.env()).summary()
    assert summary["warnings"] == ["no site ever reported the metric 'auc' (reported: accuracy), so it had no effect"]


class Wrong(Callback):
    """Measures nothing that is a number."""

    def evaluate(self, fed, model):
        return {"accuracy": "good"}


def test_what_a_callback_measures_is_checked(project):
    with pytest.raises(JobFailed, match=r"Wrong.evaluate\(\) returned \{'accuracy': 'good'\}"):
        project.recipe(ADD_ONE, callbacks=[Wrong()]).execute(project.env())


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (BestModel(), r"callbacks is BestModel\(.*\); give a list of flare_core.Callback objects"),
        ([BestModel], "one of callbacks is the class BestModel itself"),
        ([Measures()], "one of callbacks is a Measures; give an object whose class derives from flare_core.Callback"),
        ([{"class_path": "flare_core.EarlyStopping", "args": {"stop_cond": "acc"}}], "stop_cond is 'acc'"),
    ],
)
def test_what_is_no_callback_is_refused_when_the_recipe_is_made(project, callbacks, message):
    with pytest.raises(RecipeError, match=message):
        project.recipe(ADD_ONE, callbacks=callbacks)


def test_a_swarm_refuses_a_callback_that_measures_models(project):
    with pytest.raises(
        RecipeError, match="ServerEvaluation evaluates models at the server, but a swarm's server has no"
    ):
        SwarmLearningRecipe(
            name="case",
            min_clients=2,
            num_rounds=2,
            initial_model=np.zeros(2),
            train_script=project.write("client.py", ADD_ONE),
            callbacks=[ServerEvaluation(Measures())],
        )


def test_callbacks_are_in_an_exported_job_and_in_the_record(project):
    recipe = project.recipe(ADD_ONE, num_rounds=5, patience=2, callbacks=[EarlyStopping("accuracy >= 0.9")])
    loaded = load_job(export_job(recipe.job(), project.folder / "exported"))
    assert [each["path"] for each in loaded.server.workflows[0].args["callbacks"]] == [
        "flare_core.BestModel",
        "flare_core.EarlyStopping",
        "flare_core.callbacks.EarlyStopping",
    ]
    summary = project.env().deploy(loaded).summary()
    assert summary["rounds"] == 2
    assert summary["recipe"]["arguments"]["callbacks"][0]["args"] == {"stop_cond": "accuracy >= 0.9"}


COUNTER = """
    import os
    import signal
    from pathlib import Path

    from flare_core import Callback


    class Counter(Callback):
        def __init__(self, note):
            self.note = Path(note)
            self.seen = []

        def replied(self, fed, reply, weight):
            if fed.round == 2 and not self.note.exists():
                self.note.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        def round_ended(self, fed, outcome):
            self.seen.append(outcome.round)
            if len(self.seen) == 4:
                outcome.stop()

        def run_ended(self, fed):
            fed.write("seen.txt", str(self.seen))

        def state(self):
            return {"seen": self.seen}

        def restore(self, state):
            self.seen = list(state["seen"])
"""


def test_the_state_of_a_callback_is_that_of_the_last_completed_round_after_a_kill(project, hospital, monkeypatch):
    place = hospital()
    note = project.folder / "killed"
    counter = project.write("counter.py", COUNTER)
    monkeypatch.syspath_prepend(project.folder)  # as for a script beside it
    recipe = FedAvgRecipe(
        name="counted",
        min_clients=2,
        num_rounds=5,
        initial_model={"w": np.zeros(3)},
        train_script=project.write("client.py", ADD_ONE),
        callbacks=[{"class_path": "counter.Counter", "args": {"note": str(note)}}],
    )
    recipe.add_server_file(counter)
    with place.admin() as admin:
        job = admin.submit(recipe.job())["id"]
    found, _ = place.result(job)
    assert found["state"] == "finished", found["reason"]
    assert os.path.exists(note)
    folder = place.folder / "results" / job
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["rounds"], summary["best"]) == (4, {"round": 1, "value": 0.9})
    assert (folder / "server" / "seen.txt").read_text() == "[0, 1, 2, 3]"
