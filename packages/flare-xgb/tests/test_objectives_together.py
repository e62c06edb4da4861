"""Objectives whose rows belong together, and of times, against XGBoost's own."""

from __future__ import annotations

import numpy as np
import pytest
import xgboost
from objectives_of_xgboost import base_score_of, gradients_of_xgboost, matrix, trees_of
from xgboost_version import unless_changed

from flare_core import FlareError
from flare_xgb.objectives import LabelError, Targets, objective


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
        pytest.param({"lambdarank_pair_method": "mean"}, marks=unless_changed("pairs")),
        pytest.param(
            {"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": 4}, marks=unless_changed("pairs")
        ),
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
