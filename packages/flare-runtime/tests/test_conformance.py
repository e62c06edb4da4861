"""The suites of flare_core.testing with data that really travel, and the fake federation beside a real one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from talking import Again, Drift, Half, Halves, TwoAtOnce

from flare_core import FlareError, FLModel, Task
from flare_core.callbacks import BestModel
from flare_core.recipes import WorkflowRecipe
from flare_core.testing import ExecutorConformance, FakeFederation, RecipeConformance, WorkflowConformance
from flare_core.workflows import FedAvg
from flare_fobs import dumps, loads
from flare_runtime import SimEnv


def travel(data):
    return loads(dumps(data))


def test_the_fake_federation_gives_the_same_models_and_metrics_as_the_simulator(tmp_path):
    workflow = FedAvg(min_clients=3, num_rounds=3, callbacks=[BestModel()])
    recipe = WorkflowRecipe(min_clients=3, workflow=workflow, executors={"*": Drift()})
    run = recipe.execute(SimEnv(num_clients=3, num_threads=1, workspace_root=tmp_path))
    fed = FakeFederation({f"site-{number}": Drift() for number in (1, 2, 3)}, travel=travel)
    fed.run(workflow)
    for name in ("global", "best"):
        assert run.load_model(name)["w"].tobytes() == fed.saved[name].params["w"].tobytes()
    real = [(row["round"], row["site"] or "", row["key"], row["value"]) for row in run.metrics()]
    assert sorted(real) == sorted((each.round, each.site or "", each.key, each.value) for each in fed.metrics)
    summary = json.loads((run.get_result() / "summary.json").read_text())
    assert summary["warnings"] == fed.warnings == []


@pytest.mark.parametrize("kind", ["array", "nested", "dataclass", "model", "bytes"])
def test_the_fake_federation_takes_any_data_that_travel(kind):
    fed = FakeFederation({"site-1": Half(), "site-2": Half()}, travel=travel)
    fed.run(Halves(kind, 5))
    assert [each.value for each in fed.metrics] == [1.0, 1.0]


def test_the_fake_federation_refuses_what_does_not_travel():
    fed = FakeFederation({"site-1": Again()}, travel=travel)
    with pytest.raises(FlareError, match=r"the data of the task 'again' cannot be sent: .*cannot serialize"):
        fed.ask("again", {"executor": Again()})


class TestHalf(ExecutorConformance):
    def make(self):
        return Half()

    def tasks(self):
        array = np.arange(6.0)
        return [Task("half", data) for data in (array, [array, "text"], FLModel(params={"w": array}))]

    def travel(self, data):
        return travel(data)


class TestTwoAtOnce(WorkflowConformance):
    def make(self):
        return TwoAtOnce(5)

    def federation(self, **faults):
        sites = {f"site-{number}": lambda task: Half().execute(task, None) if task.name == "half" else task.data
                 for number in (1, 2, 3)}  # fmt: skip
        return FakeFederation(sites, travel=travel, **faults)


class TestWorkflowRecipe(RecipeConformance):
    def make(self, folder):
        return WorkflowRecipe(min_clients=2, workflow=TwoAtOnce(5), executors={"half": Half(), "*": Again()})
