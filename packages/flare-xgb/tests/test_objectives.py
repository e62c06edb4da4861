"""Objectives against XGBoost's own: gradients of single rows, base scores, predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import FlareError
from flare_xgb.objectives import Bounds, LabelError, Targets, objective
from flare_xgb.objectives.quantiles import quantiles_by_group
from flare_xgb.objectives.sums import exact_sums, total

LAMBDA = 2.0**50  # so great that a leaf is −g / lambda, a shift of the exponent


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


def matrix(rows, features=None, margins=None):
    n = int(rows.group_starts[-1])
    return xgboost.DMatrix(
        np.zeros((n, 1), np.float32) if features is None else features,
        rows.label,
        weight=rows.weight,
        base_margin=margins,
        qid=rows.qid,
        label_lower_bound=rows.label_lower_bound,
        label_upper_bound=rows.label_upper_bound,
    )


def trees_of(booster):
    return json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]


def gradients_of_xgboost(name, parameters, margins, rows):
    """Train on each row alone, from its margin: the root of a tree tells the row's gradient, bit for bit."""
    parameters = {**parameters, "objective": name, "lambda": LAMBDA, "eta": 1, "min_child_weight": 0, "nthread": 1}
    columns = {each: getattr(rows, each) for each in ("label", "weight", "label_lower_bound", "label_upper_bound")}
    out = np.empty((2, *margins.shape), np.float32)
    for i in range(len(margins)):
        one = Targets(**{each: None if column is None else column[i : i + 1] for each, column in columns.items()})
        for k, tree in enumerate(trees_of(xgboost.train(parameters, matrix(one, margins=margins[i : i + 1]), 1))):
            out[0, i, k] = -np.float32(tree["base_weights"][0]) * np.float32(LAMBDA)
            out[1, i, k] = np.float32(tree["sum_hessian"][0])
    return out


def estimated(made, rows):
    """Return the base score of rows in one place."""
    quantiles = [
        quantiles_by_group(rows.label, np.zeros(len(rows.label), np.int64), 1, alpha, rows.weight)
        for alpha in made.label_quantiles
    ]
    return made.base_score(made.base_sums(rows), np.concatenate(quantiles) if quantiles else None)


def base_score_of(booster):
    text = json.loads(booster.save_config())["learner"]["learner_model_param"]["base_score"]
    return np.array(json.loads(text), np.float32).reshape(-1)


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_a_row_have_the_bits_of_xgboosts(name, parameters, labels, weighted):
    for seed in range(2):
        made, margins, rows = drawn(name, parameters, labels, seed, 40, weighted)
        gradient, hessian = made.gradients(margins, rows)
        assert gradient.dtype == hessian.dtype == np.float32
        expected = gradients_of_xgboost(name, parameters, margins, rows)
        np.testing.assert_array_equal(gradient, expected[0])
        np.testing.assert_array_equal(hessian, expected[1])


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_estimated_base_score_and_the_predictions_are_xgboosts(name, parameters, labels, weighted):
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
@settings(max_examples=8, deadline=None)
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


@pytest.mark.parametrize(
    ("name", "parameters", "label"),
    [("binary:logistic", {}, 2.0), ("reg:gamma", {}, 0.0), ("multi:softprob", {"num_class": 3}, 3.0)],
)
def test_a_label_outside_of_the_domain_is_refused(name, parameters, label):
    with pytest.raises(LabelError, match=name):
        objective(name, parameters).check(Targets(label=np.array([1.0, label], np.float32)))


def test_an_unknown_objective_is_refused_by_name():
    with pytest.raises(FlareError, match="reg:cubederror"):
        objective("reg:cubederror")


def test_a_base_score_that_is_no_probability_is_refused():
    with pytest.raises(FlareError, match=r"\(0, 1\)"):
        objective("binary:logistic").to_margin(np.array([1.5], np.float32))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e80, max_value=1e80), max_size=30))
def test_a_sum_is_the_exact_sum_rounded_once(terms):
    from fractions import Fraction

    terms = [each if abs(each) > 1e-80 else 0.0 for each in terms]  # what is less than 2⁻³²⁰ in a term is cut off
    exact = float(sum((Fraction(each) for each in terms), Fraction(0)))
    assert total(exact_sums(np.array(terms)))[0] == exact


def test_a_sum_with_nan_or_both_infinities_is_nan():
    values = total(exact_sums([1, np.nan], [np.inf, 1], [-np.inf], [np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf, np.nan])
