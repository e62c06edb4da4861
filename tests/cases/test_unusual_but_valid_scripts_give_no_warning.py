"""Unusual but valid scripts and settings run to the end without warnings."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import Aggregator, FLModel
from flare_core.robust import CoordinateMedian
from flare_recipes_np import FedEvalRecipe, SwarmLearningRecipe

LOOP = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        params = model.params
        {body}
"""

TRAIN = "flare.send(flare.FLModel(params={{key: value + number for key, value in params.items()}}{rest}))"


def run_with(project, body, **arguments):
    run = project.recipe(LOOP.replace("{body}", body), **{"num_rounds": 2, **arguments}).execute(project.env())
    return run.summary()["warnings"]


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("dice_loss", "min"),
        ("val_f1_loss", "min"),
        ("accuracy_std", "min"),
        ("neg_mean_squared_error", "max"),
        ("negLogLoss", "max"),
    ],
)
def test_a_loss_named_like_a_score_or_negated(project, metric, mode):
    body = TRAIN.format(rest=f', metrics={{"{metric}": 1.0}}')
    assert run_with(project, body, key_metric=metric, key_metric_mode=mode) == []


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_site_without_data_that_says_so(project, transfer):
    body = """
        steps = 0 if number == 2 else 10
        params = {key: value + (steps > 0) for key, value in params.items()}
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": steps}))
    """
    assert run_with(project, body, params_transfer_type=transfer) == []


def test_a_site_whose_data_arrives_later_is_checked_then(project):
    body = """
        steps = model.current_round if number == 2 else 1
        params["numpy_key"] += number == 1
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": steps}))
    """
    (text,) = run_with(project, body)
    assert text.startswith("site-2: returned the model unchanged in round 1")


def test_a_difference_of_a_tiny_model_that_resembles_the_model(project):
    body = 'flare.send(flare.FLModel(params={"w": np.ones(2)}, params_type="DIFF"))'
    assert run_with(project, body, initial_model={"w": np.ones(2)}) == []


@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
@pytest.mark.parametrize("dtype", ["np.float32", "np.uint8"])
def test_flags_and_counters_that_are_sent_as_numbers(project, dtype, transfer):
    body = f"""
        params["w"] += number
        params["count"] += 3
        flare.send(flare.FLModel(params={{key: value.astype({dtype}) for key, value in params.items()}}))
    """
    initial = {"w": np.zeros(9, np.float32), "count": np.array(0), "mask": np.array([True, False])}
    recipe = project.recipe(LOOP.replace("{body}", body), initial_model=initial, params_transfer_type=transfer)
    run = recipe.execute(project.env())
    model = run.load_model()
    assert {key: value.dtype for key, value in model.items()} == {key: value.dtype for key, value in initial.items()}
    assert (model["count"], model["mask"].tolist(), model["w"][0]) == (3, [True, False], 1.5)
    assert run.summary()["warnings"] == []


def test_counters_of_different_widths_use_the_range_of_the_model(project):
    body = 'flare.send(flare.FLModel(params={"n": np.array(5, np.uint8) if number == 1 else np.array(1001)}))'
    run = project.recipe(LOOP.replace("{body}", body), initial_model={"n": np.array(0), "w": np.ones(2)})
    assert run.execute(project.env()).load_model()["n"] == 503


class ByAge(Aggregator):
    """Weights by its own entry, and expects whole models."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.all = []

    def add(self, reply):
        self.all.append((np.array(reply.model.params["numpy_key"]), reply.model.meta["samples"]))

    def result(self):
        total = sum(weight for _, weight in self.all)
        return FLModel(params={"numpy_key": sum(value * weight for value, weight in self.all) / total})


@pytest.mark.parametrize(
    ("aggregator", "meta"),
    [
        (ByAge(), '{"samples": 10 * number}'),
        (CoordinateMedian(), '{"NUM_STEPS_CURRENT_ROUND": 10} if number == 1 else {}'),
    ],
)
def test_weights_with_a_meaning_of_the_aggregators_own(project, aggregator, meta):
    assert run_with(project, TRAIN.format(rest=f", meta={meta}"), aggregator=aggregator) == []


def test_a_received_model_that_is_sent_back_with_metrics_alone(project):
    body = 'model.params, model.metrics = None, {"accuracy": 0.5}; flare.send(model)'
    recipe = FedEvalRecipe(
        name="case",
        min_clients=2,
        initial_model=np.ones(2),
        train_script=project.write("client.py", LOOP.replace("{body}", body)),
    )
    summary = recipe.execute(project.env()).summary()
    assert (summary["warnings"], summary["metrics"]) == ([], {"accuracy": 0.5})


def test_a_non_numeric_metric_produces_one_warning_not_one_per_round_and_site(project):
    body = TRAIN.format(rest=', metrics={"accuracy": 0.5, "confusion": [[model.current_round, 2], [3, 4]]}')
    (text,) = run_with(project, body, num_rounds=3)
    assert text.startswith("site-1: metric 'confusion' is a list, not a number")


def swarm(project, body, **arguments):
    script = project.write("client.py", LOOP.replace("{body}", body))
    return SwarmLearningRecipe(name="case", initial_model=np.ones(2), train_script=script, **arguments)


def test_a_site_that_lies_about_its_metrics_does_not_choose_the_best_model_of_a_swarm_either(project):
    metrics = '{"accuracy": (1e9 if model.current_round == 0 else -1e9) if number == 1 else 0.1 * model.current_round}'
    body = TRAIN.format(rest=f", metrics={metrics}, meta={{'NUM_STEPS_CURRENT_ROUND': 10 ** (30 * (number == 1))}}")
    recipe = swarm(project, body, min_clients=5, num_rounds=3, aggregator=CoordinateMedian())
    best = recipe.execute(project.env(5)).summary()["best"]
    assert best == {"round": 2, "value": pytest.approx(0.2)}


def test_settings_without_effect_in_a_swarm_are_named_like_those_of_other_recipes(project):
    recipe = swarm(project, TRAIN.format(rest=""), min_clients=2, num_rounds=1, exclude_vars="head")
    assert recipe.execute(project.env()).summary()["warnings"] == [
        "exclude_vars has 'head', which excludes nothing; the model's keys are numpy_key"
    ]
