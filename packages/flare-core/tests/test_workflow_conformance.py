"""Flare's own workflows pass the suite of tests for workflows."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import BestModel, EarlyStopping, FLModel, Reply, WeightedMean
from flare_core.optimizers import Adam
from flare_core.task import TaskName
from flare_core.testing import FakeFederation, WorkflowConformance, resumed
from flare_core.workflows import CrossSiteEval, Cyclic, FedAvg, FedEval, FedOpt, Scaffold, Swarm
from flare_core.workflows.fedavg import applied

SITES = ("site-1", "site-2", "site-3")
INITIAL = {"w": np.arange(4.0), "deep": {"b": np.ones(2, np.float32)}}


class Trainer:
    """A site that moves the model towards its own optimum, and does the other tasks of Flare's workflows."""

    def __init__(self, number: int) -> None:
        self.target = 10.0 * number
        self.steps = number
        self.held: dict[int, dict] = {}

    def __call__(self, task):
        params = task.model.params
        match task.name:
            case TaskName.SWARM_HOLD | TaskName.SWARM_RECALL:
                return self._hold(task.model.meta["round"], params)
            case TaskName.SWARM_AGGREGATE:
                return self._aggregate(task)
            case TaskName.KEEP_MODEL:
                return FLModel(meta={"file": "global_model", "digest": str(np.sum(params["w"]))})
            case TaskName.VALIDATE:
                return FLModel(metrics={"accuracy": self._accuracy(params)})
            case TaskName.SUBMIT_MODEL:
                return FLModel(params={"w": np.full(4, self.target), "deep": {"b": np.zeros(2, np.float32)}})
        trained = {
            "w": params["w"] + 0.5 * (self.target - params["w"]),
            "deep": {"b": params["deep"]["b"] * np.float32(0.9)},
        }
        controls = task.model.optimizer_params
        if controls is not None:
            controls = {"w": controls["w"] + 1.0, "deep": {"b": controls["deep"]["b"] + np.float32(self.steps)}}
        return FLModel(
            params=trained,
            optimizer_params=controls,
            metrics={"accuracy": self._accuracy(params)},
            meta={"NUM_STEPS_CURRENT_ROUND": self.steps},
        )

    def _accuracy(self, params) -> float:
        return float(1 / (1 + abs(params["w"][0] - self.target)))

    def _hold(self, round_, params):
        if params is not None:
            self.held[round_] = params
        return FLModel(params=self.held.get(round_))

    def _aggregate(self, task):
        mean = WeightedMean()
        for site, model in task.model.meta["contributions"]:
            mean.add(Reply(site, TaskName.TRAIN, model, task.round))
        new = applied(mean, FLModel(params=task.model.params), None, print)
        return self._hold(task.model.meta["round"], new.params)


class Suite(WorkflowConformance):
    can_spare = 1

    def federation(self, **faults):
        sites = {site: Trainer(number + 1) for number, site in enumerate(SITES)}
        return FakeFederation(sites, initial=INITIAL, seed=3, **faults)


class TestFedAvg(Suite):
    def make(self):
        return FedAvg(min_clients=2, num_rounds=3, callbacks=[BestModel()])


class TestFedAvgThatStopsEarly(Suite):
    def make(self):
        return FedAvg(
            min_clients=2,
            num_rounds=9,
            callbacks=[BestModel(key_metric_mode="min"), EarlyStopping(patience=2, key_metric_mode="min")],
        )


class TestFedOpt(Suite):
    def make(self):
        return FedOpt(min_clients=2, num_rounds=3, optimizer=Adam(lr=0.1))


class TestScaffold(Suite):
    def make(self):
        return Scaffold(min_clients=2, num_rounds=3)


class TestCyclic(Suite):
    def make(self):
        return Cyclic(min_clients=2, num_rounds=3, order="random")


class TestSwarm(Suite):
    def make(self):
        return Swarm(min_clients=2, num_rounds=3, callbacks=[BestModel()])


class TestFedEval(Suite):
    def make(self):
        return FedEval(min_clients=2)


class TestCrossSiteEval(Suite):
    def make(self):
        return CrossSiteEval(min_clients=2)


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_fedavg_with_a_quorum_uses_the_replies_of_earlier_rounds(quorum):
    sites = {site: Trainer(number + 1) for number, site in enumerate(SITES)}
    fed = FakeFederation(sites, initial=INITIAL)
    fed.run(FedAvg(min_clients=1, num_rounds=4, quorum=quorum, max_staleness=3))
    assert fed.completed == 4
    assert len(fed.tasks) == {1: 3 + 3, 2: 3 + 3 * 2, 3: 12}[quorum]


def test_fedavg_that_is_continued_chooses_the_same_sites():
    def make():
        return FedAvg(min_clients=2, num_rounds=4, clients_per_round=2)

    undisturbed, continued = TestFedAvg().federation(), TestFedAvg().federation()
    undisturbed.run(make())
    resumed(make, continued, after_round=1)
    assert [site for site, _ in continued.tasks] == [site for site, _ in undisturbed.tasks]
    np.testing.assert_equal(continued.saved["global"].params, undisturbed.saved["global"].params)
