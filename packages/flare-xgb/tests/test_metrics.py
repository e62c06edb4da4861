"""Metrics against XGBoost's own, and over any deal of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import FlareError
from flare_xgb.metrics import metric
from flare_xgb.objectives import LabelError, Targets, objective


def value_of_xgboost(name, parameters, margins, rows):
    """Return the metric of margins, given to a model without trees as its base margins."""
    data = xgboost.DMatrix(
        np.zeros((len(margins), 1), np.float32),
        rows.label,
        weight=rows.weight,
        base_margin=margins,
        qid=rows.qid,
        label_lower_bound=rows.label_lower_bound,
        label_upper_bound=rows.label_upper_bound,
    )
    booster = xgboost.Booster(
        {**parameters, "eval_metric": name, "base_score": 0.5, "nthread": 1, "verbosity": 0}, [data]
    )
    printed, value = booster.eval(data).split("\t")[1].removeprefix("eval-").rsplit(":", 1)
    return printed, float(value)


def number(rng, n):
    return rng.normal(scale=3, size=n)


def positive(rng, n):
    return rng.gamma(1.0, size=n) + 0.01


def binary(rng, n):
    return rng.integers(0, 2, n)


def share(rng, n):
    return rng.uniform(size=n)


def classes(rng, n):
    return rng.integers(0, 4, n)


SQUARED = {"objective": "reg:squarederror"}
LOGISTIC = {"objective": "binary:logistic"}
GAMMA = {"objective": "reg:gamma"}
CLASSES = {"objective": "multi:softprob", "num_class": 4}

# metric, parameters with the objective, labels
ROWWISE = [
    ("rmse", SQUARED, number),
    ("mae", SQUARED, number),
    ("mape", SQUARED, number),
    ("rmsle", GAMMA, positive),
    ("logloss", LOGISTIC, binary),
    ("logloss", LOGISTIC, share),
    ("logloss", {"objective": "binary:logitraw"}, binary),
    ("error", LOGISTIC, binary),
    ("error@0.7", LOGISTIC, binary),
    ("error@0.5", LOGISTIC, binary),
    ("merror", CLASSES, classes),
    ("mlogloss", CLASSES, classes),
]
# Sites' values are averaged: equal to XGBoost's on the rows of one place, but not the same for any deal of the rows.
AVERAGED = [
    ("auc", LOGISTIC, binary),
    ("auc", LOGISTIC, share),
]


def names(cases):
    return [f"{name}-{parameters['objective']}-{labels.__name__}" for name, parameters, labels in cases]


@st.composite
def problems(draw, parameters, labels):
    """Margins of rows, with ties among them, and labels and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 200))
    made = objective(parameters["objective"], parameters)
    margins = rng.normal(scale=draw(st.sampled_from([0.1, 2, 10])), size=(n, made.outputs)).astype(np.float32)
    if draw(st.booleans()):
        margins = np.round(margins)
    weight = rng.choice([0.25, 1, 3, 1.7], n).astype(np.float32) if draw(st.booleans()) else None
    return made, margins, Targets(label=labels(rng, n).astype(np.float32), weight=weight)


def assert_equals_xgboosts(name, parameters, problem):
    made, margins, rows = problem
    mine = metric(name, parameters)
    printed, expected = value_of_xgboost(name, parameters, margins, rows)
    assert mine.name == printed
    np.testing.assert_allclose(mine(made.transform_for_metrics(margins), rows), expected, rtol=1e-6, atol=1e-12)


def parts(rows, cuts, order):
    columns = ("label", "weight", "label_lower_bound", "label_upper_bound")
    for part in np.split(order, sorted(cuts)):
        kept = {each: getattr(rows, each)[part] for each in columns if getattr(rows, each) is not None}
        yield part, Targets(**kept)


@pytest.mark.parametrize(("name", "parameters", "labels"), ROWWISE + AVERAGED, ids=names(ROWWISE + AVERAGED))
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_metric_has_the_value_of_xgboosts(name, parameters, labels, data):
    assert_equals_xgboosts(name, parameters, data.draw(problems(parameters, labels)))


@pytest.mark.parametrize(("name", "parameters", "labels"), ROWWISE, ids=names(ROWWISE))
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_mean_over_rows_has_the_same_bits_for_any_deal_of_the_rows(name, parameters, labels, data):
    made, margins, rows = data.draw(problems(parameters, labels))
    n = len(margins)
    order = np.array(data.draw(st.permutations(range(n))))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=6))
    mine = metric(name, parameters)
    predictions = made.transform_for_metrics(margins)
    added = sum(mine.sums(predictions[part], some) for part, some in parts(rows, cuts, order))
    np.testing.assert_array_equal(mine.finish(added), mine(predictions, rows))


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_auc_of_sites_is_the_share_of_their_own_pairs_in_the_right_order(data):
    made, margins, rows = data.draw(problems(LOGISTIC, binary))
    n = len(margins)
    cuts = data.draw(st.lists(st.integers(0, n), max_size=4))
    mine, predictions = metric("auc"), made.transform_for_metrics(margins)
    right = pairs = 0.0
    added = np.zeros_like(mine.sums(predictions, rows))
    for part, some in parts(rows, cuts, np.arange(n)):
        added += mine.sums(predictions[part], some)
        weight = np.ones(len(part)) if some.weight is None else some.weight.astype(np.float64)
        positive, negative = some.label == 1, some.label == 0
        weights = np.outer(weight[positive], weight[negative])
        difference = predictions[part][positive][:, None] - predictions[part][negative]
        right += (weights * ((difference > 0) + 0.5 * (difference == 0))).sum()
        pairs += weights.sum()
    np.testing.assert_allclose(mine.finish(added), right / pairs if pairs else np.nan, rtol=1e-12)


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(FlareError, match="rmsx"):
        metric("rmsx")


def test_a_metric_of_one_prediction_refuses_those_of_several_classes():
    with pytest.raises(LabelError, match="mlogloss"):
        metric("rmse")(np.zeros((3, 2), np.float32), Targets(label=np.zeros(3, np.float32)))


def test_a_greater_auc_is_better_and_a_lesser_error():
    assert metric("auc").maximize
    assert not metric("error").maximize
