"""Tensors excluded from the mean keep the server's values, and the tensors after them are not shifted."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import Aggregator, FLModel, Reply
from flare_core.errors import NonFiniteError
from flare_core.optimizers import SGD, Adam, ServerOptimizer
from flare_core.schedules import Step
from flare_core.workflows import FedOpt

NAMES = ["first", "second", "third", "fourth"]

SENDS = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    while flare.is_running():
        params = flare.receive().params
        sent = {key: value + number * (index + 1) for index, (key, value) in enumerate(params.items())}
        flare.send(flare.FLModel(params=sent))
"""


@pytest.mark.parametrize("excluded", NAMES)
@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_large_excluded_tensor_does_not_shift_the_others(project, transfer, excluded):
    made = project.recipe(
        SENDS,
        initial_model={name: np.zeros(20_000) for name in NAMES},
        exclude_vars=[excluded],
        params_transfer_type=transfer,
    )
    found = made.execute(project.env()).load_model()
    wanted = {name: 0.0 if name == excluded else 1.5 * (index + 1) for index, name in enumerate(NAMES)}
    assert {name: set(found[name].tolist()) for name in NAMES} == {name: {value} for name, value in wanted.items()}


class Decays(ServerOptimizer):
    """Halves its input."""

    def step(self, params, gradients, *, scale=1.0):
        return {key: value / 2 for key, value in params.items()}

    def state(self):
        return {}

    def restore(self, state):
        pass


def test_an_optimizer_does_not_step_excluded_tensors():
    workflow = FedOpt(min_clients=1, num_rounds=1, optimizer=Decays(), exclude_vars="head")
    model = FLModel(params={"w": np.ones(2), "head": np.ones(2)})
    workflow.aggregator.add(Reply("site-1", "train", FLModel(params=dict(model.params)), 0))
    stepped = workflow._updated(model, 0).params
    assert (stepped["w"].tolist(), stepped["head"].tolist()) == ([0.5, 0.5], [1.0, 1.0])


class Last(Aggregator):
    """Returns the last contribution without a round, which the interface does not require."""

    def reset(self):
        self.params = None

    def add(self, reply):
        self.params = dict(reply.model.params)

    def result(self):
        return FLModel(params=self.params)


def test_a_schedule_follows_the_rounds_whatever_the_aggregator_reports():
    workflow = FedOpt(
        min_clients=1, num_rounds=3, aggregator=Last(), optimizer=SGD(lr=1.0), schedule=Step(every=1, factor=0.5)
    )
    model = FLModel(params={"w": np.zeros(1)})
    for round_ in range(3):
        sent = FLModel(params={"w": model.params["w"] + 1})
        workflow.aggregator.add(Reply("site-1", "train", sent, 0))
        model = workflow._updated(model, round_)
    assert model.params["w"].tolist() == [1 + 1 / 2 + 1 / 4]


def test_a_step_to_infinity_is_refused_and_not_saved():
    workflow = FedOpt(min_clients=1, num_rounds=1, optimizer=Adam(lr=1e6))
    model = FLModel(params={"w": np.zeros(2, np.float16)})
    workflow.aggregator.add(Reply("site-1", "train", FLModel(params={"w": np.ones(2, np.float16)}), 0))
    with pytest.raises(NonFiniteError, match="the step of Adam, the server's optimizer: 'w' holds"):
        workflow._updated(model, 0)
