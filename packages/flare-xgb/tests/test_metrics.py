"""Metrics against XGBoost's own, and over any deal of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from xgboost_version import skip_if_of_quantiles

from flare_core import FlareError
from flare_xgb.metrics import metric, metrics_of
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


def count(rng, n):
    return rng.poisson(2.0, n)


def grade(rng, n):
    return rng.integers(0, 4, n) * rng.integers(0, 2)  # sometimes all are irrelevant


def signed(rng, n):
    return np.ceil(rng.exponential(8, n)) * rng.choice([-1, 1], n)


def times(rng, n):
    """Return lower and upper bounds of times: known, or censored in every way."""
    lower = rng.exponential(3, n) * rng.integers(0, 2, n)
    return lower, np.where(rng.integers(0, 2, n) & (lower > 0), lower, rng.choice([1, np.inf], n) + lower)


HUBER = {"objective": "reg:pseudohubererror"}
QUANTILE = {"objective": "reg:quantileerror"}
POISSON = {"objective": "count:poisson"}
TWEEDIE = {"objective": "reg:tweedie"}
AFT = {"objective": "survival:aft"}
PAIRWISE = {"objective": "rank:pairwise"}
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
    ("mphe", HUBER, number),
    ("mphe", {**HUBER, "huber_slope": 0.4}, number),
    ("quantile", {**QUANTILE, "quantile_alpha": 0.3}, number),
    ("quantile", {**QUANTILE, "quantile_alpha": [0.1, 0.5, 0.8]}, number),
    ("poisson-nloglik", POISSON, count),
    ("gamma-nloglik", GAMMA, positive),
    ("gamma-deviance", GAMMA, positive),
    ("tweedie-nloglik@1.5", TWEEDIE, positive),
    ("tweedie-nloglik@1.2", TWEEDIE, count),
    ("aft-nloglik", AFT, times),
    ("aft-nloglik", {**AFT, "aft_loss_distribution": "logistic", "aft_loss_distribution_scale": 0.7}, times),
    ("aft-nloglik", {**AFT, "aft_loss_distribution": "extreme"}, times),
    ("interval-regression-accuracy", AFT, times),
    ("merror", CLASSES, classes),
    ("mlogloss", CLASSES, classes),
]
# Sites' values are averaged: equal to XGBoost's on the rows of one place, but not the same for any deal of the rows.
AVERAGED = [
    ("auc", LOGISTIC, binary),
    ("auc", LOGISTIC, share),
    ("auc", CLASSES, classes),
    ("aucpr", LOGISTIC, binary),
    ("aucpr", LOGISTIC, share),
    ("aucpr", CLASSES, classes),
    ("cox-nloglik", {"objective": "survival:cox"}, signed),
]
# Of rankings: the groups may be dealt among sites.
GROUPWISE = [
    *((name, PAIRWISE, grade) for name in ("ndcg", "ndcg@3", "ndcg-", "ndcg@3-")),
    ("ndcg@5", {**PAIRWISE, "ndcg_exp_gain": False}, grade),
    *((name, PAIRWISE, binary) for name in ("map", "map@3", "map-", "map@2-", "pre", "pre@3", "pre@3-", "ndcg-")),
    ("auc", PAIRWISE, grade),
    ("aucpr", PAIRWISE, binary),
]
ALL = ROWWISE + AVERAGED + GROUPWISE


def names(cases):
    return [f"{name}-{'-'.join(map(str, parameters.values()))}-{labels.__name__}" for name, parameters, labels in cases]


@st.composite
def problems(draw, parameters, labels):
    """Margins of rows, with ties among them, and labels and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 200))
    made = objective(parameters["objective"], parameters)
    margins = rng.normal(scale=draw(st.sampled_from([0.1, 2, 10])), size=(n, made.outputs)).astype(np.float32)
    if draw(st.booleans()):
        margins = np.round(margins)
    if labels is signed:  # with very different hazards XGBoost loses the small ones, as it subtracts from their sum
        margins = np.clip(margins, -3, 3)
    qid = np.sort(rng.integers(0, 8, n)) if parameters["objective"].startswith("rank") else None
    weights = n if qid is None else len(np.unique(qid))
    columns = {"qid": qid}
    if draw(st.booleans()):
        columns["weight"] = rng.choice([1, 1.7, 3] if qid is not None else [0.25, 1, 3], weights).astype(np.float32)
    if labels is times:
        columns["label_lower_bound"], columns["label_upper_bound"] = np.array(times(rng, n), np.float32)
    else:
        columns["label"] = labels(rng, n).astype(np.float32)
    return made, margins, Targets(**columns)


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


@pytest.mark.parametrize(("name", "parameters", "labels"), ALL, ids=names(ALL))
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_metric_has_the_value_of_xgboosts(name, parameters, labels, data):
    if isinstance(parameters.get("quantile_alpha"), list):
        skip_if_of_quantiles(parameters["objective"])
    assert_equals_xgboosts(name, parameters, data.draw(problems(parameters, labels)))


@pytest.mark.parametrize(("name", "parameters", "labels"), ROWWISE, ids=names(ROWWISE))
@given(data=st.data())
@settings(max_examples=8, deadline=None)
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


@pytest.mark.parametrize(("name", "parameters", "labels"), GROUPWISE, ids=names(GROUPWISE))
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_a_mean_over_groups_has_the_same_bits_for_any_deal_of_the_groups(name, parameters, labels, data):
    made, margins, rows = data.draw(problems(parameters, labels))
    starts = rows.group_starts
    groups = len(starts) - 1
    site_of = np.array(data.draw(st.lists(st.integers(0, 2), min_size=groups, max_size=groups)), np.int64)
    mine, predictions = metric(name, parameters), made.transform_for_metrics(margins)
    added = np.zeros_like(mine.sums(predictions, rows))
    for site in range(3):
        of_site = site_of == site
        part = np.repeat(of_site, np.diff(starts))
        weight = None if rows.weight is None else rows.weight[of_site]
        added += mine.sums(predictions[part], Targets(label=rows.label[part], qid=rows.qid[part], weight=weight))
    np.testing.assert_array_equal(mine.finish(added), mine(predictions, rows))


def test_the_partial_likelihood_of_sites_is_that_of_strata():
    rng = np.random.default_rng(1)
    mine = metric("cox-nloglik")
    sites = [(rng.exponential(size=n).astype(np.float32), signed(rng, n).astype(np.float32)) for n in (30, 50)]
    loss = events = 0.0
    for hazards, label in sites:
        at_risk = np.abs(label) >= np.abs(label)[:, None]
        loss += (np.log(at_risk @ hazards.astype(np.float64)) - np.log(hazards))[label > 0].sum()
        events += (label > 0).sum()
    added = sum(mine.sums(hazards, Targets(label=label)) for hazards, label in sites)
    np.testing.assert_allclose(mine.finish(added), loss / events, rtol=1e-6)


@pytest.mark.parametrize("name", ["auc", "aucpr"])
def test_a_site_with_one_class_has_no_part_in_an_area(name):
    rng = np.random.default_rng(2)
    predictions, label = rng.uniform(size=50).astype(np.float32), binary(rng, 50).astype(np.float32)
    mine = metric(name)
    both = mine.sums(predictions, Targets(label=label))
    one = mine.sums(predictions, Targets(label=np.ones(50, np.float32)))
    none = mine.sums(predictions[:0], Targets(label=label[:0]))
    assert mine.finish(both + one + none) == mine.finish(both)
    assert np.isnan(mine.finish(one + none))


@pytest.mark.parametrize("parameters", [{}, {"lambdarank_pair_method": "mean"}, {"lambdarank_num_pair_per_sample": 2}])
@pytest.mark.parametrize("name", ["rank:ndcg", "rank:map", "rank:pairwise"])
def test_the_default_metric_of_a_ranking_is_xgboosts(name, parameters):
    rng = np.random.default_rng(3)
    margins = rng.normal(size=(300, 1)).astype(np.float32)
    rows = Targets(label=binary(rng, 300).astype(np.float32), qid=np.sort(rng.integers(0, 3, 300)))
    data = xgboost.DMatrix(np.zeros((300, 1)), rows.label, base_margin=margins, qid=rows.qid)
    booster = xgboost.Booster({**parameters, "objective": name, "base_score": 0.5}, [data])
    printed, expected = booster.eval(data).split("\t")[1].removeprefix("eval-").rsplit(":", 1)
    (mine,) = metrics_of(objective(name, parameters), (), parameters)
    assert mine.name == printed
    np.testing.assert_allclose(mine(margins[:, 0], rows), float(expected), rtol=1e-6)


def test_the_metrics_that_are_named_replace_the_default():
    made = metrics_of(objective("binary:logistic"), ["auc", "error@0.3"])
    assert [each.name for each in made] == ["auc", "error@0.3"]


@pytest.mark.parametrize(
    "name", ["ams@0.15", "error@many", "ndcg@x", "ndcg@0", "tweedie-nloglik", "rmse@3", "quantile"]
)
def test_a_metric_that_is_left_out_or_misspelt_is_refused_by_name(name):
    with pytest.raises(FlareError, match=name.partition("@")[0]):
        metric(name)


@pytest.mark.parametrize(
    ("name", "label"), [("map", 2.0), ("pre", 0.5), ("ndcg", 0.5), ("ndcg", 40.0), ("merror", 2.0)]
)
def test_labels_that_a_metric_cannot_use_are_refused(name, label):
    predictions = np.zeros((2, 2) if name == "merror" else 2, np.float32)
    with pytest.raises(LabelError, match=name):
        metric(name)(predictions, Targets(label=np.array([1, label], np.float32), qid=np.zeros(2, np.int64)))


@pytest.mark.parametrize(("name", "parameters", "labels"), ALL, ids=names(ALL))
def test_a_site_without_rows_adds_nothing(name, parameters, labels):
    made, none = objective(parameters["objective"], parameters), np.zeros(0, np.float32)
    ids = np.zeros(0, np.int64) if parameters is PAIRWISE else None
    rows = Targets(label=none, qid=ids, label_lower_bound=none, label_upper_bound=none)
    predictions = made.transform_for_metrics(np.zeros((0, made.outputs), np.float32))
    assert not metric(name, parameters).sums(predictions, rows).any()


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(FlareError, match="rmsx"):
        metric("rmsx")


def test_a_metric_of_one_prediction_refuses_those_of_several_classes():
    with pytest.raises(LabelError, match="mlogloss"):
        metric("rmse")(np.zeros((3, 2), np.float32), Targets(label=np.zeros(3, np.float32)))


def test_a_greater_auc_is_better_and_a_lesser_error():
    assert metric("auc").maximize
    assert not metric("error").maximize
