"""Objectives against XGBoost's own: gradients of single rows, base scores, predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_core import FlareError
from flare_xgb.objectives import NAMES, Bounds, Custom, LabelError, Targets, objective
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


def base_score_of(booster):
    text = json.loads(booster.save_config())["learner"]["learner_model_param"]["base_score"]
    return np.array(json.loads(text), np.float32).reshape(-1)


@pytest.mark.parametrize(("name", "parameters", "labels"), CASES, ids=IDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_a_row_have_the_bits_of_xgboosts(name, parameters, labels, weighted):
    made, margins, rows = drawn(name, parameters, labels, int(weighted), 40, weighted)
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


def assert_leaves_are_of_these_gradients(tree, leaves, gradients, regularization):
    """Compare leaves that each hold one or a few rows, as a feature tells all rows apart."""
    gradient, hessian = (each[:, 0].astype(np.float64) for each in gradients)
    for leaf in np.unique(leaves):
        g, h = gradient[leaves == leaf], hessian[leaves == leaf]
        np.testing.assert_allclose(tree["sum_hessian"][leaf], h.sum(), rtol=1e-6, atol=1e-12)
        weight = tree["base_weights"][leaf] / 0.5  # the learning rate
        scale = np.abs(g).sum() / (h.sum() + regularization)
        np.testing.assert_allclose(weight, -g.sum() / (h.sum() + regularization), rtol=1e-6, atol=1e-6 * scale + 1e-12)


def assert_rounds_equal_xgboosts(name, parameters, rows, margins, num_rounds, regularization=0.01):
    n = len(margins)
    data = matrix(rows, np.arange(n, dtype=np.float32)[:, None], margins)
    deep = {"lambda": regularization, "min_child_weight": 0, "max_depth": 0, "eta": 0.5, "nthread": 1, "max_bin": 512}
    booster = xgboost.train({**deep, **parameters, "objective": name}, data, num_rounds)
    made = objective(name, parameters)
    made = made.agreed(made.base_sums(rows))
    for round_, tree in enumerate(trees_of(booster)):
        before = booster[:round_].predict(data, output_margin=True)[:, None] if round_ else margins
        leaves = booster[round_ : round_ + 1].predict(data, pred_leaf=True).astype(int).reshape(-1)
        assert len(np.unique(leaves)) > n / 10
        assert_leaves_are_of_these_gradients(tree, leaves, made.gradients(before, rows, round_), regularization)


def rankings(rng, name, n, groups, weighted):
    qid = np.sort(rng.integers(0, groups, n))
    grades = 2 if name == "rank:map" else 5
    weight = rng.uniform(0.5, 3, len(np.unique(qid))).astype(np.float32) if weighted else None
    margins = np.round(rng.normal(scale=2, size=(n, 1)), 1).astype(np.float32)
    return Targets(label=rng.integers(0, grades, n).astype(np.float32), weight=weight, qid=qid), margins


@pytest.mark.parametrize("name", ["rank:pairwise", "rank:ndcg", "rank:map"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"lambdarank_num_pair_per_sample": 3},
        {"lambdarank_normalization": False},
        {"lambdarank_score_normalization": False},
        {"lambdarank_pair_method": "mean"},
        {"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": 4},
        {"ndcg_exp_gain": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_rankings_are_xgboosts_in_every_round(name, parameters, weighted):
    rows, margins = rankings(np.random.default_rng(3), name, 150, 9, weighted)
    assert_rounds_equal_xgboosts(name, parameters, rows, margins, 3)


def test_a_ranking_without_groups_is_one_group():
    rng = np.random.default_rng(4)
    rows = Targets(label=rng.integers(0, 4, 60).astype(np.float32))
    assert_rounds_equal_xgboosts("rank:ndcg", {}, rows, rng.normal(size=(60, 1)).astype(np.float32), 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_whole_groups_do_not_depend_on_their_site(weighted):
    rows, margins = rankings(np.random.default_rng(5), "rank:ndcg", 200, 12, weighted)
    sites = []
    for groups in (np.arange(0, 5), np.arange(5, 12)):
        some = np.isin(rows.qid, np.unique(rows.qid)[groups])
        weight = rows.weight[groups] if weighted else None
        sites.append((some, Targets(label=rows.label[some], weight=weight, qid=rows.qid[some])))
    made = objective("rank:ndcg")
    total_of_sites = sum(made.base_sums(site) for _, site in sites)
    agreed = made.agreed(total_of_sites)
    assert agreed == made.agreed(made.base_sums(rows))
    whole = agreed.gradients(margins, rows)
    for some, site in sites:
        np.testing.assert_array_equal(agreed.gradients(margins[some], site)[0], whole[0][some])
        np.testing.assert_array_equal(agreed.gradients(margins[some], site)[1], whole[1][some])


def test_weights_of_groups_must_be_agreed_on_before_they_are_used():
    rows, margins = rankings(np.random.default_rng(5), "rank:ndcg", 50, 3, True)
    with pytest.raises(FlareError, match="mean over all sites"):
        objective("rank:ndcg").gradients(margins, rows)


def cox_labels(rng, n):
    return np.ceil(rng.exponential(8, n)) * rng.choice([-1, 1], n)  # with many ties


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradients_of_cox_regression_are_xgboosts_in_every_round(weighted):
    rng = np.random.default_rng(6)
    weight = rng.uniform(0.5, 3, 150).astype(np.float32) if weighted else None
    rows = Targets(label=cox_labels(rng, 150).astype(np.float32), weight=weight)
    assert_rounds_equal_xgboosts("survival:cox", {}, rows, rng.normal(size=(150, 1)).astype(np.float32), 3, 1.0)


@pytest.mark.parametrize("name", ["survival:cox", "survival:aft", "rank:ndcg", "rank:pairwise", "rank:map"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_estimated_base_score_of_rows_that_belong_together_is_xgboosts(name, weighted):
    rng = np.random.default_rng(11)
    if name.startswith("rank"):
        rows, _ = rankings(rng, name, 200, 9, weighted)
    else:
        times = {"label": cox_labels(rng, 200)}
        if name == "survival:aft":
            times = dict.fromkeys(("label_lower_bound", "label_upper_bound"), rng.exponential(size=200))
        weight = rng.uniform(0.5, 3, 200).astype(np.float32) if weighted else None
        rows = Targets(weight=weight, **{each: column.astype(np.float32) for each, column in times.items()})
    booster = xgboost.train({"objective": name, "nthread": 1}, matrix(rows), 1)
    made, expected = objective(name), base_score_of(booster)
    sums = made.base_sums(rows)
    np.testing.assert_allclose(made.agreed(sums).base_score(sums), expected, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_cox_regression_is_that_of_the_partial_likelihood():
    rng = np.random.default_rng(7)
    label = rng.permutation(np.arange(1.0, 41)) * rng.choice([-1, 1], 40)  # of ties XGBoost counts a part
    margins = rng.normal(size=40)

    def loss(margins):
        at_risk = np.abs(label) >= np.abs(label)[:, None]
        return -(margins - np.log(at_risk @ np.exp(margins)))[label > 0].sum()

    step = 1e-5 * np.eye(40)
    slopes = [(loss(margins + each) - loss(margins - each)) / 2e-5 for each in step]
    rows = Targets(label=label.astype(np.float32))
    gradient, _ = objective("survival:cox").gradients(margins.astype(np.float32)[:, None], rows)
    np.testing.assert_allclose(gradient[:, 0], slopes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distribution", ["normal", "logistic", "extreme"])
@pytest.mark.parametrize("scale", [1.0, 0.4])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_the_gradients_of_failure_times_are_xgboosts(distribution, scale, spread):
    rng = np.random.default_rng(8)
    lower = rng.exponential(3, 60).astype(np.float32)
    lower[40:50] = 0
    upper = lower.copy()
    upper[20:50] += rng.exponential(2, 30).astype(np.float32)
    upper[30:35] = np.inf
    upper[50:] = np.inf
    margins = rng.normal(scale=spread, size=(60, 1)).astype(np.float32)
    weight = rng.uniform(0.5, 3, 60).astype(np.float32)
    rows = Targets(label_lower_bound=lower, label_upper_bound=upper, weight=weight)
    parameters = {"aft_loss_distribution": distribution, "aft_loss_distribution_scale": scale}
    made = objective("survival:aft", parameters)
    made.check(rows)
    expected = gradients_of_xgboost("survival:aft", parameters, margins, rows)
    for mine, its, bound in zip(made.gradients(margins, rows), expected, (45, 45), strict=True):
        np.testing.assert_allclose(mine, its, rtol=2e-7, atol=1e-13)
        assert np.abs(mine).max() <= bound
    assert made.bounds(rows).gradient <= 45


@pytest.mark.parametrize(
    ("lower", "upper"), [(2.0, 1.0), (-1.0, 1.0), (np.nan, 1.0), (0.0, 0.0), (np.inf, np.inf)], ids=str
)
def test_impossible_intervals_of_times_are_refused(lower, upper):
    rows = Targets(
        label_lower_bound=np.array([1, lower], np.float32), label_upper_bound=np.array([1, upper], np.float32)
    )
    with pytest.raises(LabelError, match="label_lower_bound"):
        objective("survival:aft").check(rows)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    alpha=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1),
    kind=st.sampled_from(["none", "integers", "equal"]),
)
@settings(max_examples=40, deadline=None)
def test_the_leaf_of_a_quantile_is_xgboosts(seed, n, alpha, kind):
    rng = np.random.default_rng(seed)
    label, margins = rng.normal(size=n).astype(np.float32), np.round(rng.normal(size=(n, 1)), 1).astype(np.float32)
    weight = {"none": None, "integers": rng.integers(1, 5, n), "equal": np.full(n, 0.5)}[kind]
    rows = Targets(label=label, weight=None if weight is None else weight.astype(np.float32))
    parameters = {"quantile_alpha": alpha, "objective": "reg:quantileerror", "eta": 1, "max_depth": 1, "nthread": 1}
    data = matrix(rows, rng.integers(0, 2, (n, 1)).astype(np.float32), margins)
    booster = xgboost.train(parameters, data, 1)
    leaves = booster.predict(data, pred_leaf=True).astype(int).reshape(-1)
    residuals = label - margins[:, 0]
    (mine,) = objective("reg:quantileerror", parameters).leaf_quantiles
    values = quantiles_by_group(residuals, leaves, 3, mine, rows.weight)
    expected = np.array(trees_of(booster)[0]["split_conditions"], np.float32)
    filled = np.unique(leaves)
    np.testing.assert_array_equal(values[filled], expected[filled])
    assert np.isnan(np.delete(values, filled)).all()


def test_a_weighted_quantile_is_the_least_number_that_reaches_its_share():
    rng = np.random.default_rng(9)
    values, weights = rng.normal(size=400).astype(np.float32), rng.exponential(size=400).astype(np.float32)
    groups = rng.integers(-1, 5, 400)
    for alpha in (0.1, 0.5, 0.77):
        found = quantiles_by_group(values, groups, 6, alpha, weights)
        for group in range(5):
            some = groups == group
            below = np.array([weights[some & (values < each)].astype(np.float64).sum() for each in values[some]])
            share = weights[some].astype(np.float64).sum() * alpha
            reached = below + weights[some] >= share
            assert found[group] == values[some][reached & (below < share)][0]
        assert np.isnan(found[5])


def test_gradients_of_ones_own_are_used_as_they_are():
    def function(margins, rows):
        return (margins - rows.label) * rows.weight, rows.weight

    rng = np.random.default_rng(10)
    rows = Targets(label=rng.normal(size=20).astype(np.float32), weight=rng.uniform(1, 2, 20).astype(np.float32))
    margins = rng.normal(size=(20, 1)).astype(np.float32)
    made, squared = Custom(function), objective("reg:squarederror")
    for mine, expected in zip(made.gradients(margins, rows), squared.gradients(margins, rows), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert Custom(function, objective("reg:absoluteerror")).leaf_quantiles == (0.5,)
    assert (made.name, made.default_metric, made.base_score(made.base_sums(rows))) == ("reg:squarederror", "rmse", 0.5)


@pytest.mark.parametrize("name", ["reg:squarederror", "binary:logistic", "count:poisson", "reg:absoluteerror"])
def test_training_with_gradients_of_ones_own_begins_where_xgboost_begins(name):
    seen = []

    def function(margins, data):
        seen.append(np.asarray(margins))
        return margins * 0, margins * 0 + 1

    xgboost.train({"objective": name}, xgboost.DMatrix(np.zeros((3, 1)), np.ones(3)), 1, obj=function)
    made = Custom(function, objective(name))
    score = made.base_score(made.base_sums(Targets(label=np.ones(3, np.float32))))
    np.testing.assert_array_equal(made.to_margin(score)[0], seen[0].reshape(-1)[0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda margins, rows: (margins[1:], margins), r"\(2,\) first"),
        (lambda margins, rows: (margins, margins / 0), "second derivative that is NaN or infinite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradients_of_ones_own_must_fit_the_margins(function, message):
    with pytest.raises(FlareError, match=message):
        Custom(function).gradients(np.ones((3, 1), np.float32), Targets(label=np.ones(3, np.float32)))


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


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e80, max_value=1e80), max_size=30))
def test_a_sum_is_the_exact_sum_rounded_once(terms):
    from fractions import Fraction

    terms = [each if abs(each) > 1e-80 else 0.0 for each in terms]  # what is less than 2⁻³²⁰ in a term is cut off
    exact = float(sum((Fraction(each) for each in terms), Fraction(0)))
    assert total(exact_sums(np.array(terms)))[0] == exact


def test_a_sum_with_nan_or_both_infinities_is_nan():
    values = total(exact_sums([1, np.nan], [np.inf, 1], [-np.inf], [np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf, np.nan])
