"""The rules that XGBoost changed after 3.2: our trees equal those of the installed release but for these."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from engine_problems import FIXED, trees_of
from xgboost_version import changed

from flare_xgb.data import Table
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import train

PLAIN = {"objective": "reg:squarederror", "min_child_weight": 1e-6, "max_depth": 4, **FIXED}
SAME: dict[str, dict[str, Any]] = {
    "squared error": {},
    "logistic": {"objective": "binary:logistic"},
    "counts": {"objective": "count:poisson"},
    "classes": {"objective": "multi:softprob", "num_class": 3},
    "lambda and gamma": {"reg_lambda": 3, "gamma": 2},
    "alpha": {"alpha": 3},
    "max_delta_step": {"max_delta_step": 0.2},
    "interaction constraints": {"interaction_constraints": "[[0, 1], [2, 3]]"},
    "single categories": {"max_cat_to_onehot": 20},
    "loss-guided growth": {"grow_policy": "lossguide", "max_leaves": 9, "max_depth": 0},
    "a forest": {"num_parallel_tree": 2},
}
CHANGED: dict[str, tuple[str, dict[str, Any]]] = {
    "min_child_weight": ("gains", {"objective": "binary:logistic", "min_child_weight": 1}),
    "alpha with max_delta_step": ("gains", {"alpha": 3, "max_delta_step": 0.2}),
    "alpha with monotone constraints": ("gains", {"alpha": 3, "monotone_constraints": "(1, -1, 0, 1)"}),
    "subsample": ("draws", {"subsample": 0.6}),
    "colsample_bytree": ("draws", {"colsample_bytree": 0.6}),
    "colsample_bylevel": ("draws", {"colsample_bylevel": 0.6}),
    "colsample_bynode": ("draws", {"colsample_bynode": 0.6}),
    "absolute error": ("quantiles", {"objective": "reg:absoluteerror"}),
    "quantile error": ("quantiles", {"objective": "reg:quantileerror", "quantile_alpha": [0.2, 0.7]}),
    "pairs of a ranking": ("pairs", {"objective": "rank:pairwise", "lambdarank_pair_method": "mean"}),
}


def trained(given: dict[str, Any]) -> tuple[Model, xgboost.Booster]:
    """Train on 500 rows of three numbers and a feature of 30 categories, most of them rare."""
    params = {**PLAIN, **given}
    kind = params["objective"].split(":")[0]
    rng = np.random.default_rng(5)
    features = rng.normal(size=(500, 4)).astype(np.float32)
    features[:, 2] = np.minimum(rng.geometric(0.1, 500), 30) - 1
    features[rng.random(features.shape) < 0.1] = np.nan
    signal = np.nan_to_num(features[:, 0] + np.sin(features[:, 2])) + rng.normal(size=500)
    label = {"binary": signal > 0, "multi": np.digitize(signal, [0, 1]), "count": np.round(np.exp(signal / 2))}.get(
        kind, np.digitize(signal, [-1, 0, 1]) if kind == "rank" else signal
    )
    types = ["float", "float", "c", "float"]
    columns: dict[str, Any] = {"qid": np.arange(500) // 25} if kind == "rank" else {}
    data = xgboost.DMatrix(features, label, feature_types=types, enable_categorical=True, **columns)
    theirs = xgboost.train(params, data, 3)
    cuts = Cuts.from_xgboost(*data.get_quantile_cut(), [one == "c" for one in types])
    table = Table.of(features, label, types=types, categories={2: list(range(len(cuts.edges(2))))}, **columns)
    ours, _ = train(params, table, 3, cuts=cuts)
    return ours, theirs


def have_the_same_splits(ours: Model, theirs: xgboost.Booster) -> bool:
    """Return whether all trees have the same form, features and thresholds, and leaves within 1e-5."""

    def equal(mine: npt.NDArray[Any], other: list[Any]) -> bool:
        return mine.shape == (len(other),) and np.allclose(mine, other, rtol=1e-5, atol=1e-6)

    return all(
        equal(tree.left, other["left_children"])
        and equal(tree.feature, other["split_indices"])
        and equal(tree.threshold, other["split_conditions"])
        and equal(
            np.concatenate([[0], *(tree.categories[at] for at in sorted(tree.categories))]), [0, *other["categories"]]
        )
        for tree, other in zip(ours.trees, trees_of(theirs), strict=True)
    )


@pytest.mark.parametrize("case", SAME)
def test_rules_that_no_release_changed_give_the_same_trees(case: str) -> None:
    assert have_the_same_splits(*trained(SAME[case]))


@pytest.mark.parametrize("case", CHANGED)
def test_trees_differ_from_the_release_on_that_changed_a_rule(case: str) -> None:
    rule, params = CHANGED[case]
    assert have_the_same_splits(*trained(params)) != changed(rule)


def test_edges_of_bins_are_the_same_and_the_first_bin_lost_its_lower_bound() -> None:
    rng = np.random.default_rng(6)
    features = rng.integers(-9, 9, (300, 3)).astype(np.float32)
    data = xgboost.DMatrix(features, rng.normal(size=300))
    xgboost.train(FIXED, data, 1)
    ours, theirs = Cuts.from_data(features, 256), Cuts.from_xgboost(*data.get_quantile_cut())
    np.testing.assert_array_equal(ours.values, theirs.values)
    np.testing.assert_array_equal(ours.pointers, theirs.pointers)
    np.testing.assert_array_equal(np.full(3, -np.inf) if changed("cuts") else ours.minimums, theirs.minimums)


def test_crossing_quantiles_of_a_row_are_sorted_by_the_release_that_says_so() -> None:
    features = np.array([[0], [1]], np.float32)
    table = Table.of(np.repeat(features, 3, 0), [0, 1, 2, 0, 5, 9])
    params = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9], "min_child_weight": 0}
    model, _ = train(params, table, 1)
    margins = np.array([[3, 1], [1, 3]], np.float32)
    booster = xgboost.Booster(model_file=bytearray(model.slice(0, 0).to_ubj()))
    found = booster.predict(xgboost.DMatrix(features, base_margin=margins))
    np.testing.assert_array_equal(found, np.sort(margins) if changed("quantiles") else margins)
