"""Order statistics that are found from sums of counts are those of the pooled numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_xgb.horizontal.keys import SortedKeys, count_keys, keys_of, values_of
from flare_xgb.horizontal.refinement import Refinement

ONE = np.ones(1, np.int64)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def counts_of(wanted, values, groups, weights):
    counts = np.zeros((len(wanted["prefixes"]), 1 << wanted["bits"]), np.int64)
    count_keys(keys_of(values), groups, weights, wanted, counts)
    return counts


def found(refinement, values, groups, weights=ONE, deal=None):
    """Refine to the end, with the rows dealt to sites."""
    deal = np.zeros(len(values), int) if deal is None else deal
    while not refinement.is_done:
        wanted = refinement.wanted()
        refinement.refine(
            sum(
                counts_of(wanted, values[deal == site], groups[deal == site], weights[deal == site])
                if len(weights) == len(values) and len(values) > 1
                else counts_of(wanted, values[deal == site], groups[deal == site], weights)
                for site in range(deal.max(initial=0) + 1)
            )
        )
    return refinement.result()


@given(st.lists(st.floats(allow_nan=False, width=32), min_size=1))
def test_keys_have_the_order_of_the_numbers_and_come_back(numbers):
    values = np.array(numbers, np.float32)
    keys = keys_of(values)
    np.testing.assert_array_equal(values_of(keys), values)
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.argsort(values, kind="stable"))


def test_both_zeros_have_one_key():
    assert len(set(keys_of(np.array([0.0, -0.0], np.float32)).tolist())) == 1


@settings(deadline=None, max_examples=50)
@given(st.lists(FINITE, min_size=2, max_size=60), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
def test_ranks_are_found_in_each_group_for_any_deal_of_the_rows(numbers, count, sites, seed):
    random = np.random.default_rng(seed)
    values = np.array(numbers, np.float32)
    groups = random.integers(-1, count, len(values)).astype(np.int32)
    ranks = [np.arange(int((groups == group).sum())) for group in range(count)]
    result = found(Refinement(ranks), values, groups, deal=random.integers(0, sites, len(values)))
    for group in range(count):
        np.testing.assert_array_equal(result[group].at(ranks[group]), np.sort(values[groups == group]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(FINITE, st.integers(1, 9)), min_size=2, max_size=60), st.integers(1, 12))
def test_weighted_ranks_are_found_as_if_each_row_were_there_as_often(pairs, step):
    values, weights = (np.array(each) for each in zip(*pairs, strict=True))
    ranks = np.arange(0, weights.sum(), step)
    groups = np.zeros(len(values), np.int32)
    (result,) = found(Refinement([ranks]), values.astype(np.float32), groups, weights)
    wanted = np.sort(np.repeat(values.astype(np.float32), weights))
    np.testing.assert_array_equal(result.at(ranks), wanted[ranks])


@settings(deadline=None, max_examples=50)
@given(st.lists(FINITE, min_size=1, max_size=60), st.integers(1, 20))
def test_all_distinct_numbers_are_found_where_they_are_few_and_the_ends_where_not(numbers, most):
    values = np.array(numbers, np.float32) + np.float32(0)
    groups = np.zeros(len(values), np.int32)
    (result,) = found(Refinement([None], most_distinct=most), values, groups)
    distinct, weights = np.unique(values, return_counts=True)
    assert result.is_all == (len(distinct) <= most)
    places = slice(None) if result.is_all else [0, -1]
    np.testing.assert_array_equal(np.unique(result.values), distinct[places])
    np.testing.assert_array_equal(result.weights[[0, -1]], weights[[0, -1]])
    np.testing.assert_array_equal(result.below[[0, -1]], (np.cumsum(weights) - weights)[[0, -1]])


def test_groups_without_numbers_have_no_result_and_ranks_beyond_the_last_are_not_found():
    values = np.array([3.0, 1.0], np.float32)
    refinement = Refinement([np.array([0]), np.array([0, 1, 2, 99])])
    nothing, some = found(refinement, values, np.ones(2, np.int32))
    assert (len(nothing.values), some.values.tolist()) == (0, [1.0, 3.0])
    refinement = Refinement([None, None], most_distinct=5)
    assert [len(each.values) for each in found(refinement, values[:0], np.ones(0, np.int32))] == [0, 0]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(width=32, allow_infinity=False), st.integers(0, 9)), max_size=60),
    st.booleans(),
    st.sampled_from([(0, 12), (12, 5), (27, 5), (31, 1), (0, 1)]),
)
def test_numbers_that_are_sorted_once_have_the_same_counts(pairs, is_weighted, place):
    values = np.array([value for value, _ in pairs], np.float32)
    weights = np.array([weight for _, weight in pairs], np.int64)
    depth, bits = place
    prefixes = np.unique(np.append(keys_of(values) >> np.uint32(32 - depth) if depth else [0], [0])).astype(np.uint32)
    wanted = {"prefixes": prefixes, "pointers": np.array([0, len(prefixes)]), "depth": depth, "bits": bits}
    groups = np.where(np.isnan(values), -1, 0).astype(np.int32)
    counted = counts_of(wanted, values, groups, weights if is_weighted and len(pairs) > 1 else ONE)
    kept = SortedKeys(values, weights if is_weighted and len(pairs) > 1 else None)
    np.testing.assert_array_equal(kept.counts(prefixes, depth, bits), counted)
