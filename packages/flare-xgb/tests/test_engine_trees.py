"""Trees grown here against trees grown by XGBoost, from the same cuts and gradients."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.grower import TreeGrower
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.rows import RowPartition, Split
from flare_xgb.engine.sampling import ColumnSampler, Draws, sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import grow_tree
from flare_xgb.engine.tree import Tree
from flare_xgb.params import parse

ARRAYS = {
    "left": "left_children",
    "right": "right_children",
    "parent": "parents",
    "feature": "split_indices",
    "threshold": "split_conditions",
    "default_left": "default_left",
    "base_weight": "base_weights",
    "loss_change": "loss_changes",
    "hessian": "sum_hessian",
}


@dataclass(frozen=True)
class Problem:
    """Rows and parameters drawn at random."""

    features: npt.NDArray[np.float32]
    label: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32] | None
    categorical: npt.NDArray[np.bool_]
    params: dict[str, Any]


def problem(seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    rows, width = int(rng.integers(1, 400)), int(rng.integers(1, 7))
    features = rng.normal(size=(rows, width)).astype(np.float32)
    for at in range(width):
        if rng.random() < 0.5:
            features[:, at] = np.round(features[:, at] * rng.integers(1, 20))
    categorical = rng.random(width) < rng.choice([0, 0.4])
    for at in np.flatnonzero(categorical):
        features[:, at] = rng.integers(0, rng.integers(1, 30), rows)
    features[rng.random(features.shape) < rng.choice([0, 0.2, 0.9])] = np.nan
    label = (rng.normal(size=rows) * rng.choice([0.01, 1, 100]) + np.nan_to_num(features[:, 0])).astype(np.float32)
    weight = rng.choice(np.float32([0, 0.5, 1, 3]), rows) if rng.random() < 0.3 else None
    params: dict[str, Any] = {
        "max_depth": int(rng.integers(0, 7)),
        "min_child_weight": float(rng.choice([0, 1, 3])),
        "reg_lambda": float(rng.choice([0, 1, 0.3])),
        "alpha": float(rng.choice([0, 0, 0.7])),
        "gamma": float(rng.choice([0, 0, 0.5])),
        "max_delta_step": float(rng.choice([0, 0, 0.1])),
        "max_bin": int(rng.choice([2, 4, 16, 256])),
        "grow_policy": str(rng.choice(["depthwise", "lossguide"])),
        "max_leaves": int(rng.choice([0, 2, 5, 9])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 12])),
        "max_cat_threshold": int(rng.choice([1, 3, 64])),
        "eta": float(rng.choice([0.3, 1, 0.05])),
        "seed": int(rng.integers(0, 1000)),
    }
    if rng.random() < 0.3:
        params["monotone_constraints"] = str(tuple(int(sign) for sign in rng.integers(-1, 2, width)))
    if rng.random() < 0.3 and width > 2:
        params["interaction_constraints"] = "[[0, 1], [1, 2]]"
    for name in ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode"):
        if rng.random() < 0.2:
            params[name] = float(rng.choice([0.3, 0.6, 0.9]))
    return Problem(features, label, weight, categorical, params)


def matrix(drawn: Problem) -> xgboost.DMatrix:
    types = ["c" if one else "q" for one in drawn.categorical]
    return xgboost.DMatrix(
        drawn.features, drawn.label, weight=drawn.weight, feature_types=types, enable_categorical=True
    )


def xgboost_trees(booster: xgboost.Booster) -> list[dict[str, Any]]:
    return json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]


def assert_same(ours: Tree, theirs: dict[str, Any]) -> None:
    for mine, other in ARRAYS.items():
        array = getattr(ours, mine)
        np.testing.assert_array_equal(array, np.array(theirs[other], array.dtype), err_msg=mine)
    ends = zip(theirs["categories_nodes"], theirs["categories_segments"], theirs["categories_sizes"], strict=True)
    categories = {node: theirs["categories"][start : start + size] for node, start, size in ends}
    assert {node: one.tolist() for node, one in ours.categories.items()} == categories


def grown(drawn: Problem, cuts: Cuts, rounds: int, threads: Threads) -> list[Tree]:
    """Squared error from a base score of 0.5."""
    params = parse(drawn.params)
    binned = BinnedMatrix.of(cuts, drawn.features)
    margins = np.full(len(drawn.label), 0.5, np.float32)
    weight = np.float32(1) if drawn.weight is None else drawn.weight
    draws = Draws(params.seed)
    columns = ColumnSampler(params.tree, cuts.features, draws.next())
    trees = []
    for _ in range(rounds):
        gradients = (margins - drawn.label) * weight
        hessians = np.ones_like(margins) * weight
        if int(len(margins) * np.float32(params.tree.subsample)) < len(margins):
            used = sample_rows(draws.next(), len(margins), params.tree.subsample)
            gradients, hessians = gradients * used, hessians * used
        scale = FixedPoint.fit(float(abs(gradients).max()), float(hessians.max()), len(margins))
        tree, partition = grow_tree(params.tree, cuts, binned, gradients, hessians, scale, columns, threads)
        partition.add_values(tree.values, margins)
        trees.append(tree)
    return trees


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_trees_of_squared_error_are_xgboosts_bit_for_bit(seed: int) -> None:
    drawn = problem(seed)
    data = matrix(drawn)
    params = {"tree_method": "hist", "nthread": 1, "base_score": 0.5, "verbosity": 0, **drawn.params}
    booster = xgboost.train(params, data, 3)
    cuts = Cuts.from_xgboost(*data.get_quantile_cut(), drawn.categorical)
    for ours, theirs in zip(grown(drawn, cuts, 3, Threads(1)), xgboost_trees(booster), strict=True):
        assert_same(ours, theirs)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_deal_of_the_rows_and_any_number_of_threads_grow_the_same_tree(seed: int, sites: int) -> None:
    drawn = problem(seed)
    params = parse(drawn.params).tree
    cuts = Cuts.from_data(drawn.features, params.max_bin, drawn.categorical)
    gradients, hessians = -drawn.label, np.ones_like(drawn.label)
    scale = FixedPoint.fit(float(abs(gradients).max()), 1, len(gradients))
    pairs = scale.encode(gradients, hessians)
    whole, _ = grow_tree(
        params, cuts, BinnedMatrix.of(cuts, drawn.features), gradients, hessians, scale, threads=Threads(3)
    )
    deal = np.random.default_rng(seed).integers(0, sites, len(gradients))
    parts = [np.flatnonzero(deal == site) for site in range(sites)]
    binned = [BinnedMatrix.of(cuts, drawn.features[part]) for part in parts]
    rows = [RowPartition(len(part)) for part in parts]
    grower = TreeGrower(params, cuts, pairs.sum(axis=0), scale)
    while not grower.done:
        grower = TreeGrower.restore(params, cuts, grower.state())  # as if it had been lost and resumed
        wanted = grower.wanted()
        sums = {
            node: sum(
                histograms(binned[at], pairs[parts[at]], [rows[at].rows_of(node)], Threads(1))[0] for at in range(sites)
            )
            for node in wanted
        }
        splits = [Split.from_plain(split.to_plain()) for split in grower.grow(sums)]
        for at in range(sites):
            rows[at].apply(splits, binned[at])
    tree = grower.tree()
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(tree, name), getattr(whole, name))
