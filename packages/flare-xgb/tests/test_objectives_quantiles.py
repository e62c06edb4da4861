"""Quantiles of residuals, which are leaves, against XGBoost's own and by their definition."""

from __future__ import annotations

import numpy as np
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from objectives_of_xgboost import matrix, trees_of
from xgboost_version import unless_changed

from flare_xgb.objectives import Targets, objective
from flare_xgb.objectives.quantiles import quantiles_by_group


@unless_changed("quantiles")
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    alpha=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0.001, 0.999),
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
