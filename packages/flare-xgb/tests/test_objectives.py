"""Objectives against XGBoost's own: gradients of single rows, base scores, predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives_of_xgboost import base_score_of, gradients_of_xgboost, matrix
from xgboost_version import skip_if_of_quantiles

from flare_core import FlareError
from flare_xgb.objectives import NAMES, Bounds, LabelError, Targets, objective
from flare_xgb.objectives.quantiles import quantiles_by_group


def numbers(rng, n):
    return rng.normal(scale=3, size=n)


def classes(k):
    return lambda rng, n: rng.integers(0, k, n)


def shares(rng, n):
    return rng.uniform(size=n)


def counts(rng, n):
    return rng.poisson(2.0, n)


def amounts(rng, n):
    return rng.poisson(1.0, n) * rng.gamma(1.0, size=n)


CASES = [
    ("reg:squarederror", {}, numbers),
    ("reg:squarederror", {"scale_pos_weight": 3.0}, classes(2)),
    ("reg:logistic", {}, shares),
    ("binary:logistic", {}, classes(2)),
    ("binary:logistic", {"scale_pos_weight": 0.3}, classes(2)),
    ("binary:logitraw", {}, classes(2)),
    ("reg:gamma", {}, lambda rng, n: rng.gamma(1.0, size=n) + 1e-3),
    ("reg:squaredlogerror", {}, lambda rng, n: rng.gamma(1.0, size=n) - 0.9),
    ("reg:pseudohubererror", {}, numbers),
    ("reg:pseudohubererror", {"huber_slope": 0.3}, numbers),
    ("reg:absoluteerror", {}, numbers),
    ("reg:quantileerror", {"quantile_alpha": 0.3}, numbers),
    ("reg:quantileerror", {"quantile_alpha": [0.1, 0.5, 0.9]}, numbers),
    ("binary:hinge", {}, classes(2)),
    ("count:poisson", {}, counts),
    ("count:poisson", {"max_delta_step": 0.2}, counts),
    ("reg:tweedie", {}, amounts),
    ("reg:tweedie", {"tweedie_variance_power": 1.1}, amounts),
    ("multi:softprob", {"num_class": 4}, classes(4)),
    ("multi:softmax", {"num_class": 3}, classes(3)),
]
IDS = [f"{name}{parameters if parameters else ''}" for name, parameters, _ in CASES]


def drawn(name, parameters, labels, seed, n, weighted):
    rng = np.random.default_rng(seed)
    made = objective(name, parameters)
    margins = rng.normal(scale=rng.choice([0.5, 3]), size=(n, made.outputs)).astype(np.float32)
    if name == "reg:squaredlogerror":  # at -1 the second derivative is so great that LAMBDA is small beside it
        margins = np.maximum(margins, np.float32(-0.9))
    weight = rng.uniform(0.1, 4, n).astype(np.float32) if weighted else None
    return made, margins, Targets(label=labels(rng, n).astype(np.float32), weight=weight)


def objective_parameters(name):
    kinds = {"reg:quantileerror": "quantile_alpha", "reg:tweedie": "tweedie_variance_power"}
    return kinds.get(name, "huber_slope" if name == "reg:pseudohubererror" else "num_class" if "multi" in name else "")


def estimated(made, rows):
    """Return the base score of rows in one place."""
    quantiles = [
        quantiles_by_group(rows.label, np.zeros(len(rows.label), np.int64), 1, alpha, rows.weight)
        for alpha in made.label_quantiles
    ]
    return made.base_score(made.base_sums(rows), np.concatenate(quantiles) if quantiles else None)


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_a_row_have_the_bits_of_xgboosts(name, parameters, labels, weighted):
    skip_if_of_quantiles(name)
    made, margins, rows = drawn(name, parameters, labels, int(weighted), 40, weighted)
    gradient, hessian = made.gradients(margins, rows)
    assert gradient.dtype == hessian.dtype == np.float32
    expected = gradients_of_xgboost(name, parameters, margins, rows)
    np.testing.assert_array_equal(gradient, expected[0])
    np.testing.assert_array_equal(hessian, expected[1])


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_estimated_base_score_and_the_predictions_are_xgboosts(name, parameters, labels, weighted):
    skip_if_of_quantiles(name)
    made, _, rows = drawn(name, parameters, labels, 7, 600, weighted)
    features = np.random.default_rng(8).normal(size=(600, 3)).astype(np.float32)
    data = matrix(rows, features)
    booster = xgboost.train({**parameters, "objective": name, "nthread": 1, "max_depth": 3}, data, 3)
    score = estimated(made, rows)
    # XGBoost adds up the weights of classes in float32, row by row.
    tolerance = 1e-6 if name.startswith("multi") and weighted else 0
    np.testing.assert_allclose(score, base_score_of(booster), rtol=0, atol=tolerance)
    assert json.loads(booster.save_config())["learner"]["objective"]["name"] == made.name
    margins = booster.predict(data, output_margin=True).reshape(600, -1)
    np.testing.assert_array_equal(made.transform(margins), booster.predict(data))


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@given(seed=st.integers(0, 2**32 - 1), weighted=st.booleans(), cuts=st.lists(st.integers(0, 50), max_size=6))
@settings(max_examples=5, deadline=None)
def test_sums_and_bounds_of_sites_are_those_of_all_rows(name, parameters, labels, seed, weighted, cuts):
    made, margins, rows = drawn(name, parameters, labels, seed, 50, weighted)
    order = np.random.default_rng(seed).permutation(50)
    sites = []
    for part in np.split(order, sorted(cuts)):
        weight = None if rows.weight is None else rows.weight[part]
        sites.append((Targets(label=rows.label[part], weight=weight), margins[part]))
    added = sum((made.base_sums(site) for site, _ in sites), start=np.zeros_like(made.base_sums(rows)))
    np.testing.assert_array_equal(added, made.base_sums(rows))

    gradients = made.gradients(margins, rows)
    measured = Bounds(0, 0)
    for site, its_margins in sites:
        measured |= Bounds.measured(made.gradients(its_margins, site))
    assert measured == Bounds.measured(gradients)
    given_bounds = [made.bounds(site) for site, _ in sites]
    bounds = [each for each in given_bounds if each is not None]
    assert len(bounds) in (0, len(sites))
    for each in (measured, *([max(bounds, key=lambda one: one.gradient)] if bounds else [])):
        assert np.abs(gradients[0]).max() <= each.gradient
        assert gradients[1].max() <= each.hessian


@pytest.mark.parametrize("name", NAMES)
def test_what_a_model_says_of_its_objective_is_what_xgboost_says(name):
    parameters = {"quantile_alpha": [0.5], "num_class": 3, "tweedie_variance_power": 1.3, "huber_slope": 0.9}
    parameters = {key: value for key, value in parameters.items() if key in objective_parameters(name)}
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 20) + (name == "reg:gamma")
    times = {"label_lower_bound": labels + 1.0, "label_upper_bound": labels + 2.0} if name == "survival:aft" else {}
    data = xgboost.DMatrix(np.zeros((20, 1)), None if times else labels, **times)
    config = json.loads(xgboost.train({**parameters, "objective": name}, data, 1).save_config())["learner"]
    made = objective(name, parameters)
    assert json.dumps(config["objective"], sort_keys=True).replace("5E-1", "0.5") == json.dumps(
        made.config(), sort_keys=True
    )
    assert config["metrics"][0]["name"] == made.default_metric


@pytest.mark.parametrize(
    ("name", "parameters", "label"),
    [("binary:logistic", {}, 2.0), ("reg:gamma", {}, 0.0), ("multi:softprob", {"num_class": 3}, 3.0)],
)
def test_a_label_outside_of_the_domain_is_refused(name, parameters, label):
    with pytest.raises(LabelError, match=name):
        objective(name, parameters).check(Targets(label=np.array([1.0, label], np.float32)))


@pytest.mark.parametrize("name", NAMES)
def test_a_site_without_rows_has_no_gradients_and_adds_nothing(name):
    made = objective(name, {"quantile_alpha": [0.1, 0.5], "num_class": 3})
    none, ids = np.zeros(0, np.float32), np.zeros(0, np.int64) if name.startswith("rank") else None
    rows = Targets(label=none, weight=none, qid=ids, label_lower_bound=none, label_upper_bound=none)
    made.check(rows)
    made = made.agreed(made.base_sums(rows))
    for part in made.gradients(np.zeros((0, made.outputs), np.float32), rows):
        assert part.shape == (0, made.outputs)
    assert not made.base_sums(rows).any()
    assert (made.bounds(rows) or Bounds(0, 0)).gradient < 1e-30
    assert len(made.transform(np.zeros((0, made.outputs), np.float32))) == 0


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_are_missing_are_asked_for(name):
    made = objective(name, {"quantile_alpha": [0.1, 0.5], "num_class": 3})
    with pytest.raises(LabelError, match="needs the column label"):
        made.check(Targets())


@pytest.mark.parametrize("weights", [2, 4])
def test_weights_must_be_of_rows_or_of_groups(weights):
    weight, label = np.ones(weights, np.float32), np.ones(3, np.float32)
    with pytest.raises(LabelError, match=f"{weights} weights are given for 3 rows"):
        objective("reg:squarederror").base_sums(Targets(label=label, weight=weight))
    with pytest.raises(LabelError, match=f"{weights} weights are given for 1 groups"):
        objective("rank:ndcg").base_sums(Targets(label=label, weight=weight, qid=np.zeros(3, np.int64)))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("multi:softprob", {}, "num_class"),
        ("multi:softmax", {"num_class": 0}, "num_class"),
        ("reg:quantileerror", {}, "quantile_alpha"),
        ("reg:quantileerror", {"quantile_alpha": [0.5, 2]}, "quantile_alpha"),
        ("reg:tweedie", {"tweedie_variance_power": 2}, "tweedie_variance_power"),
        ("reg:pseudohubererror", {"huber_slope": 0}, "huber_slope"),
        ("survival:aft", {"aft_loss_distribution": "uniform"}, "aft_loss_distribution"),
        ("survival:aft", {"aft_loss_distribution_scale": 0}, "aft_loss_distribution_scale"),
        ("rank:ndcg", {"lambdarank_unbiased": True}, "lambdarank_unbiased"),
        ("rank:ndcg", {"lambdarank_pair_method": "all"}, "lambdarank_pair_method"),
        ("rank:ndcg", {"lambdarank_num_pair_per_sample": 0}, "lambdarank_num_pair_per_sample"),
    ],
)
def test_parameters_that_an_objective_cannot_use_are_refused_by_name(name, parameters, message):
    with pytest.raises(FlareError, match=message):
        objective(name, parameters)


def test_gradients_that_are_not_finite_have_no_finite_bound():
    measured = Bounds.measured((np.array([1, np.nan], np.float32), np.array([np.inf, 0], np.float32)))
    joined = Bounds(1, 1) | measured
    assert np.isnan(joined.gradient)
    assert np.isinf(joined.hessian)


def test_an_unknown_objective_is_refused_by_name():
    with pytest.raises(FlareError, match="reg:cubederror"):
        objective("reg:cubederror")


def test_a_base_score_that_is_no_probability_is_refused():
    with pytest.raises(FlareError, match=r"\(0, 1\)"):
        objective("binary:logistic").to_margin(np.array([1.5], np.float32))
