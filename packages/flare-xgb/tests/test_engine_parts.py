"""Cuts, bins, fixed point, histograms, partitions, draws and the binary form of JSON."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xgboost_version import unless_changed

from flare_core import ModelError
from flare_xgb.engine.binned import BinnedMatrix
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.histogram import histograms
from flare_xgb.engine.predict import Forest
from flare_xgb.engine.rows import RowPartition, Split
from flare_xgb.engine.sampling import ColumnSampler, sample_rows
from flare_xgb.engine.threads import Threads
from flare_xgb.engine.train import EarlyStopping, grow_tree
from flare_xgb.engine.ubjson import dump_json, dump_ubj, load_json, load_ubj
from flare_xgb.params import TreeParams

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def table(seed: int, distinct: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    rows, width = int(rng.integers(1, 300)), int(rng.integers(1, 5))
    features = np.empty((rows, width), np.float32)
    categorical = rng.random(width) < 0.3
    for at in range(width):
        values = rng.normal(size=distinct) * 10.0 ** rng.integers(-30, 30)
        features[:, at] = rng.choice(np.arange(distinct) if categorical[at] else values, rows)
    features[rng.random(features.shape) < rng.choice([0, 0.3, 1])] = np.nan
    weight = rng.uniform(0.1, 3, rows).astype(np.float32) if rng.random() < 0.5 else None
    if weight is not None:
        weight[rng.random(rows) < rng.choice([0, 0.5])] = 0  # values of such rows alone have no bin
    return features, categorical, weight


@unless_changed("cuts")
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
@MANY
def test_cuts_of_few_distinct_values_are_xgboosts(seed: int, distinct: int) -> None:
    features, categorical, weight = table(seed, distinct)
    types = ["c" if one else "q" for one in categorical]
    data = xgboost.DMatrix(
        features, np.zeros(len(features)), weight=weight, feature_types=types, enable_categorical=True
    )
    xgboost.train({"max_bin": 20, "tree_method": "hist", "nthread": 1}, data, 1)
    assert Cuts.from_data(features, 20, categorical, weight, Threads(2)) == Cuts.from_xgboost(
        *data.get_quantile_cut(), categorical
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 64))
@MANY
def test_bins_of_many_distinct_values_hold_equal_shares(seed: int, max_bin: int) -> None:
    rng = np.random.default_rng(seed)
    column = rng.normal(size=(2000, 1)).astype(np.float32)
    weight = rng.uniform(0.5, 1.5, 2000).astype(np.float32)
    cuts = Cuts.from_data(column, max_bin, weights=weight)
    assert cuts.bins == max_bin
    shares = np.bincount(cuts.search(0, column[:, 0]), weight, max_bin) / weight.sum()
    assert abs(shares - 1 / max_bin).max() < 3 / 2000


def test_a_value_at_an_edge_is_in_the_bin_above_it() -> None:
    cuts = Cuts.from_edges([([1.0, 2.0, 5.0], 0.0), 3])
    assert cuts.search(0, np.float32([-9, 0, 1, 1.5, 2, 5, 9, np.nan])).tolist() == [0, 0, 1, 1, 2, 2, 2, -1]
    assert cuts.search(1, np.float32([0, 2, np.nan])).tolist() == [0, 2, -1]
    assert BinnedMatrix.of(cuts, np.float32([[np.nan, 2], [1, np.nan]])).codes.tolist() == [[3, 2], [1, 3]]


@pytest.mark.parametrize("category", [-1.0, 0.5, 3.0])
def test_a_category_without_a_bin_is_an_error(category: float) -> None:
    with pytest.raises(ModelError, match="categories 0 to 2"):
        Cuts.from_edges([3]).search(0, np.float32([category]))


def test_cuts_and_tables_that_cannot_be_are_errors() -> None:
    with pytest.raises(ModelError, match="ascend"):
        Cuts.from_edges([([2.0, 1.0], 0.0)])
    with pytest.raises(ModelError, match="pointers"):
        Cuts(np.float32([1]), np.array([0, 1, 1]), np.float32([0, 0]), np.array([False, False]))
    with pytest.raises(ModelError, match="infinite"):
        Cuts.from_data(np.float32([[np.inf]]), 4)
    with pytest.raises(ModelError, match="integers"):
        Cuts.from_data(np.float32([[0.5]]), 4, [True])
    with pytest.raises(ModelError, match="1 features"):
        BinnedMatrix.of(Cuts.from_edges([2]), np.zeros((3, 2), np.float32))


def test_bins_are_as_narrow_as_they_can_be() -> None:
    column = np.arange(256, dtype=np.float32)[:, None]
    cuts = Cuts.from_data(column, 256)
    assert cuts.bins == 256
    assert BinnedMatrix.of(cuts, column).codes.dtype == np.uint8
    column[0] = np.nan
    assert BinnedMatrix.of(cuts, column).codes.dtype == np.uint16


@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.integers(-30, 30))
@MANY
def test_sums_of_integers_are_exact_and_never_overflow(seed: int, rows: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    bound = np.float32(2.0**exponent)
    gradients = (rng.uniform(-1, 1, rows) * bound).astype(np.float32)
    gradients[rng.random(rows) < 0.5] = bound
    scale = FixedPoint.fit(float(bound), float(bound), rows)
    pairs = scale.encode(gradients, abs(gradients))
    assert abs(pairs).sum(axis=0, dtype=object).max() < 2**62
    error = scale.decode(pairs.sum(axis=0))[0] - gradients.sum(dtype=np.longdouble)
    assert abs(error) <= rows * bound * 2.0**-50


@pytest.mark.parametrize("rows", [1, 2, 3, 2**20, 2**40])
@pytest.mark.parametrize("bound", [1e-45, 1e-3, 1.0, 1.5, 3e38])
def test_all_rows_at_the_bound_do_not_overflow(rows: int, bound: float) -> None:
    scale = FixedPoint.fit(bound, bound, rows)
    largest = np.float32(bound) if np.float32(bound) <= bound else np.nextafter(np.float32(bound), np.float32(0))
    code = int(scale.encode(np.array([largest]), np.array([largest]))[0, 0])
    assert 2**30 < rows * code < 2**62 or bound == 1e-45
    assert scale.decode(np.array([[code, code]]))[0, 0] == pytest.approx(float(largest), rel=1e-6)


@pytest.mark.parametrize("gradient", [float("nan"), float("inf"), 4.1])
def test_a_gradient_beyond_its_bound_is_an_error(gradient: float) -> None:
    scale = FixedPoint.fit(1.0, 1.0, 1)
    with pytest.raises(ModelError, match="beyond its bound"):
        scale.encode(np.float32([gradient]), np.float32([1]))


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_a_bound_that_is_none_is_an_error(bound: float) -> None:
    with pytest.raises(ModelError, match="gradient"):
        FixedPoint.fit(bound, 1, 5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@MANY
def test_histograms_are_sums_by_bin(seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    features, categorical, _ = table(seed, 7)
    features = np.repeat(features, int(rng.integers(1, 60)), axis=0)
    cuts = Cuts.from_data(features, 7, categorical)
    binned = BinnedMatrix.of(cuts, features)
    pairs = rng.integers(-(2**40), 2**40, (len(features), 2))
    nodes = [np.flatnonzero(rng.integers(0, 3, len(features)) == 0).astype(np.int32) for _ in range(3)]
    for rows, found in zip(nodes, histograms(binned, pairs, nodes, Threads(threads)), strict=True):
        expected = np.zeros((cuts.bins, 2), np.int64)
        for feature in range(cuts.features):
            bins = cuts.search(feature, features[rows, feature])
            np.add.at(expected, bins[bins >= 0] + cuts.pointers[feature], pairs[rows[bins >= 0]])
        np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 2**32 - 1))
@MANY
def test_the_rows_of_a_leaf_are_those_that_the_tree_sends_there(seed: int) -> None:
    features, categorical, _ = table(seed, 9)
    rng = np.random.default_rng(seed)
    cuts = Cuts.from_data(features, 9, categorical)
    gradients = rng.normal(size=len(features)).astype(np.float32)
    tree, partition = grow_tree(
        TreeParams(max_depth=5, min_child_weight=0),
        cuts,
        BinnedMatrix.of(cuts, features),
        gradients,
        np.ones_like(gradients),
        FixedPoint.fit(10, 1, len(features)),
    )
    leaves = Forest([tree], [0]).leaves(features, Threads(2))[:, 0]
    np.testing.assert_array_equal(partition.leaf_of_rows(), leaves)
    for leaf in partition.leaves:
        np.testing.assert_array_equal(partition.rows_of(leaf), np.flatnonzero(leaves == leaf))


def test_a_split_of_what_is_no_leaf_is_an_error() -> None:
    binned = BinnedMatrix.of(Cuts.from_edges([2]), np.zeros((3, 1), np.float32))
    partition = RowPartition(3)
    with pytest.raises(ModelError, match="node 1 is no leaf"):
        partition.apply([Split(1, 2, 3, 0, 0, True)], binned)
    with pytest.raises(ModelError, match="circle"):
        partition.apply([Split(1, 2, 3, 0, 0, True), Split(2, 1, 4, 0, 0, True)], binned)
    partition.apply([Split(0, 1, 2, 0, 0, True), Split(1, 3, 4, 0, 0, True)], binned)
    assert partition.leaves == [2, 3, 4]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 50), min_size=1, max_size=5), st.floats(0.01, 1))
@MANY
def test_sites_draw_the_rows_that_the_whole_table_would(seed: int, sizes: list[int], share: float) -> None:
    whole = sample_rows(seed, sum(sizes), share)
    parts = [sample_rows(seed, size, share, sum(sizes[:at])) for at, size in enumerate(sizes)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_share_of_drawn_rows_is_the_wanted_one() -> None:
    assert abs(sample_rows(12345, 100_000, 0.3).mean() - 0.3) < 0.01


def test_columns_are_drawn_on_after_a_restart_as_without_one() -> None:
    params = TreeParams(colsample_bytree=0.7, colsample_bylevel=0.7, colsample_bynode=0.7)

    def drawn(sampler: ColumnSampler) -> list[list[int]]:
        return [sampler.of_node(depth).tolist() for depth in (0, 1, 1, 2)]

    one, other = ColumnSampler(params, 20, 5), ColumnSampler(params, 20, 99)
    one.start_tree()
    drawn(one)
    other.restore(one.state())
    assert drawn(other) == drawn(one)
    one.start_tree()
    other.start_tree()
    assert drawn(other) == drawn(one)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=32, allow_nan=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=20,
)


@given(VALUES)
@MANY
def test_values_survive_json_and_its_binary_form(value: Any) -> None:
    assert load_ubj(dump_ubj(value)) == value
    assert load_json(dump_json(value)) == value


@given(st.lists(st.floats(width=32, allow_nan=False)), st.lists(st.integers(-(2**31), 2**31 - 1)))
@MANY
def test_arrays_survive_json_and_its_binary_form(floats: list[float], integers: list[int]) -> None:
    value = {"f": np.array(floats, np.float32), "l": np.array(integers, np.int32)}
    for found in (load_ubj(dump_ubj(value)), load_json(dump_json(value))):
        np.testing.assert_array_equal(np.array(found["f"], np.float32), value["f"])
        np.testing.assert_array_equal(np.array(found["l"], np.int32), value["l"])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 4), st.booleans())
@MANY
def test_early_stopping_waits_for_as_many_rounds_as_it_should(scores: list[int], rounds: int, maximize: bool) -> None:
    stopping = EarlyStopping(rounds, maximize)
    best, since = None, 0
    for at, score in enumerate(scores):
        stops = stopping.stops(score)
        if best is None or (score > scores[best] if maximize else score < scores[best]):
            best, since = at, 0
        else:
            since += 1
        assert stops == (since >= rounds)
        assert stopping.best_iteration == best
        if stops:
            break


def _sum_in_child(threads: Threads, queue: Any) -> None:
    queue.put(threads.map(lambda one: one * 2, [1, 2, 3]))


def test_a_forked_process_has_threads_of_its_own() -> None:
    threads = Threads(2)
    assert threads.map(lambda one: one + 1, [1, 2, 3]) == [2, 3, 4]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(threads, queue))
    child.start()
    assert queue.get(timeout=30) == [2, 4, 6]
    child.join()


def test_an_error_in_a_thread_reaches_the_caller_and_the_pool_goes_on() -> None:
    threads = Threads(3)

    def fails(one: int) -> int:
        if one % 7 == 3:
            raise ValueError(str(one))
        return one

    for _ in range(20):
        with pytest.raises(ValueError, match=r"\d"):
            threads.map(fails, range(40))
    assert threads.map(lambda one: one, range(40)) == list(range(40))
    nested = threads.map(lambda one: sum(threads.map(lambda two: one * two, range(9))), range(30))
    assert nested == [36 * one for one in range(30)]


def test_several_threads_may_share_one_pool() -> None:
    threads = Threads(2)
    with ThreadPoolExecutor(8) as outer:
        found = list(outer.map(lambda at: threads.map(lambda one: one + at, range(20)), range(50)))
    assert found == [[one + at for one in range(20)] for at in range(50)]
