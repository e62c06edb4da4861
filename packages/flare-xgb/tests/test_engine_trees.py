"""Trees grown here against trees grown by XGBoost, from the same cuts and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import xgboost
from engine_problems import Problem, problem, trees_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xgboost_version import unless_changed

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


@unless_changed("gains")
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_trees_of_squared_error_are_xgboosts_bit_for_bit(seed: int) -> None:
    drawn = problem(seed)
    data = drawn.matrix()
    booster = xgboost.train({**drawn.params, "base_score": 0.5}, data, 3)
    for ours, theirs in zip(grown(drawn, drawn.cuts(data), 3, Threads(1)), trees_of(booster), strict=True):
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
