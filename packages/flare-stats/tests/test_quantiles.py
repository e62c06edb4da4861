"""Quantiles from counts: brackets that narrow to the value of a rank, and counts that do not tell single values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.quantiles import Brackets, Search, key_of, value_of
from flare_stats.steps import RankSteps

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FRACTIONS = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]


def found(parts, fractions=FRACTIONS, grain=1):
    steps = [RankSteps.of(part, np.ones(len(part), int), grain) for part in parts]
    brackets = Brackets(sum(len(part) for part in parts), fractions)
    questions = 0
    while not brackets.is_done:
        thresholds = brackets.thresholds()
        brackets.narrow(sum(each.at(thresholds) for each in steps))
        questions += 1
    assert questions <= 11
    return brackets.result()


@given(st.lists(st.lists(FLOATS, max_size=20), min_size=1, max_size=4).filter(lambda parts: any(parts)))
def test_quantiles_are_those_of_numpy_to_the_bit_wherever_the_values_lie(parts):
    pooled = np.array([value for part in parts for value in part])
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.quantile(pooled, FRACTIONS)
    result = np.array(list(found(parts).values()))
    fine = np.isfinite(wanted)  # the difference of two values may overflow
    np.testing.assert_array_equal(result[fine], wanted[fine] + 0.0)


@given(FLOATS)
def test_each_number_has_a_place_of_its_own(value):
    assert value_of(key_of([value])) == [value]


@given(FLOATS, FLOATS)
def test_places_are_in_the_order_of_numbers(one, other):
    assert (key_of([one]) < key_of([other])) == (one < other)


def test_no_values_have_no_quantiles():
    assert Brackets(0, FRACTIONS).result() == {}
    assert Brackets(0, FRACTIONS).is_done


def test_several_places_are_searched_with_the_same_questions():
    parts = {"site-1": np.array([1.0, 2.0, 3.0]), "site-2": np.array([10.0, 20.0])}
    keys = {("site-1", "train", "x"): ["site-1"], ("Global", "train", "x"): ["site-1", "site-2"]}
    search = Search({key: Brackets(sum(len(parts[site]) for site in of), [0.5]) for key, of in keys.items()}, keys)
    while questions := search.questions():
        search.narrow(
            {
                site: {"train": {"x": (parts[site][None] <= of["train"]["x"][:, None]).sum(1)}}
                for site, of in questions.items()
            }
        )
    assert [each[0.5] for each in search.result().values()] == [2.0, 3.0]


@given(st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=300), st.integers(2, 20))
def test_counts_in_groups_err_by_less_than_three_groups_and_tell_no_rare_value(values, grain):
    steps = RankSteps.of(values, np.ones(len(values), int), grain, ends=(-60.0, 60.0))
    if len(values) < grain:
        assert steps is None
        return
    thresholds = np.linspace(-70, 70, 281)
    true = (np.array(values)[None] <= thresholds[:, None]).sum(1)
    counts = steps.at(thresholds)
    assert np.abs(counts - true).max() < 3 * grain
    assert (np.diff(counts) >= 0).all()
    assert (counts[0], counts[-1], steps.total) == (0, len(values), len(values))
    kept, times = np.unique(values, return_counts=True)
    frequent = {value for value, count in zip(kept, times, strict=True) if count >= grain}
    half = (grain + 1) // 2
    ordered = np.sort(np.array(values))
    means = [ordered[at - half : at + half].mean() for at in range(half, len(values) - half + 1)]
    for point in {*steps.points} - frequent - {-60.0, 60.0}:
        assert np.isclose(means, point, atol=1e-9).any()


def test_a_value_that_a_sketch_keeps_for_many_is_not_told():
    """It stands for many values, but is that of one record."""
    values = np.random.default_rng(0).normal(50, 10, 3000)
    steps = RankSteps.of(values, np.full(3000, 256), 10, ends=(0.0, 100.0))
    assert not {*steps.points} & {*values}
    thresholds = np.linspace(0, 100, 1001)
    true = 256 * (values[None] <= thresholds[:, None]).sum(1)
    assert np.abs(steps.at(thresholds) - true).max() < 3 * 10 * 256
    assert steps.total == 3000 * 256


@given(st.lists(FLOATS, min_size=1, max_size=60), st.integers(2, 8))
def test_any_two_cuts_have_a_whole_group_between_them(values, grain):
    steps = RankSteps.of(values, np.ones(len(values), int), grain, ends=(min(values), max(values)))
    if steps is not None:
        apart = np.diff(np.concatenate([[0], np.unique(steps.ranks)]))
        assert (apart[apart > 0] >= grain).all()


def test_few_values_without_known_ends_have_no_counts():
    assert RankSteps.of([1.0, 2.0, 3.0], [1, 1, 1], 10) is None
    assert RankSteps.of(np.arange(15.0), np.ones(15, int), 10) is None
    assert RankSteps.of(np.arange(15.0), np.ones(15, int), 10, ends=(-3.0, 18.0)).at([7.5])[0] == pytest.approx(
        7, abs=1
    )
    assert RankSteps.of([], [], 10, ends=(0.0, 1.0)).total == 0
    assert RankSteps.of([], []).at([0.0, math.inf]).tolist() == [0, 0]


def test_extreme_values_do_not_overflow():
    values = np.array([-1.7e308, -1e308, 0.0, 1e308, 1.7e308] * 2)
    steps = RankSteps.of(values, np.ones(10, int), 3, ends=(-1.7e308, 1.7e308))
    assert steps.at([-math.inf, math.inf]).tolist() == [0, 10]
    assert (np.diff(steps.at(np.linspace(-1.0, 1.0, 101) * 1.7e308)) >= 0).all()


def test_quantiles_of_groups_are_near():
    random = np.random.default_rng(5)
    parts = [random.normal(50, 10, 300) for _ in range(3)]
    pooled = np.concatenate(parts)
    for fraction, value in found(parts, [0.05, 0.25, 0.5, 0.75, 0.95], grain=10).items():
        assert abs((pooled <= value).mean() - fraction) < 3 * 20 / 900


def test_values_at_both_ends_of_all_numbers_have_a_finite_median():
    halves = found([np.array([-1.7e308, 1.7e308])], [0.25, 0.5])
    assert halves == {0.25: pytest.approx(-0.85e308), 0.5: 0.0}


def test_zero_has_no_sign():
    assert [math.copysign(1, value) for value in found([np.array([-0.0, 0.0, -0.0])]).values()] == [1.0] * 6
