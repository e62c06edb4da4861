from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.algebra import AlgebraError, Moments

SHIFTS = (0.0, 1.0, 1e9, -1e9, 1e15)
CUTS = st.lists(st.integers(0, 300), max_size=5).map(sorted)


def parts(values: npt.NDArray[Any], cuts: list[int]) -> list[npt.NDArray[Any]]:
    return np.split(values, [min(cut, len(values)) for cut in cuts])


def merged(pieces: list[npt.NDArray[Any]]) -> Moments:
    """Moments of each piece, by way of plain data, merged."""
    whole = Moments()
    for piece in pieces:
        moments = Moments()
        moments.add(piece)
        whole.merge(Moments.from_data(moments.to_data()))
    return whole


def exact(values: npt.NDArray[Any]) -> tuple[Fraction, Fraction]:
    """Mean and population variance without rounding."""
    numbers = [Fraction(value) for value in values.tolist()]
    mean = sum(numbers) / len(numbers)
    return mean, sum((number - mean) ** 2 for number in numbers) / len(numbers)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.sampled_from(SHIFTS), CUTS)
def test_moments_of_any_split_equal_exact_ones_of_the_pooled_values(
    seed: int, count: int, shift: float, cuts: list[int]
) -> None:
    values = shift + np.random.default_rng(seed).normal(size=count)
    moments = merged(parts(values, cuts))
    mean, variance = exact(values)
    assert (moments.count, moments.min, moments.max) == (count, values.min(), values.max())
    assert moments.mean == pytest.approx(float(mean), rel=1e-15)
    assert moments.sum == pytest.approx(float(mean * count), rel=1e-12)
    assert moments.variance(ddof=0) == pytest.approx(float(variance), rel=1e-12)


def test_a_million_values_of_1e9_plus_noise_have_numpys_moments() -> None:
    values = 1e9 + np.random.default_rng(1).normal(size=1_000_000)
    moments = merged(parts(values, [10, 200_000, 200_000, 900_000]))
    assert moments.mean == pytest.approx(values.mean(), rel=1e-15)
    assert moments.stddev() == pytest.approx(np.std(values - 1e9, ddof=1), rel=1e-12)  # the difference is exact


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=60), CUTS)
def test_integers_of_64_bits_are_summed_and_compared_exactly(values: list[int], cuts: list[int]) -> None:
    moments = merged(parts(np.array(values, np.int64), cuts))
    mean, variance = exact(np.array(values, object))
    assert (moments.sum, moments.min, moments.max) == (sum(values), min(values), max(values))
    assert moments.mean == pytest.approx(float(mean), rel=1e-12, abs=1e4)  # the parts' means are about 1e19
    assert moments.variance(ddof=0) == pytest.approx(float(variance), rel=1e-12)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60), CUTS)
def test_unsigned_integers_of_64_bits_are_summed_and_compared_exactly(values: list[int], cuts: list[int]) -> None:
    moments = merged(parts(np.array(values, np.uint64), cuts))
    assert (moments.sum, moments.min, moments.max) == (sum(values), min(values), max(values))
    assert moments.variance(ddof=0) == pytest.approx(float(exact(np.array(values, object))[1]), rel=1e-12)


def test_integers_beyond_two_to_the_53_that_are_close_have_the_variance_of_their_last_digits() -> None:
    values = 2**60 + np.array([0, 1, 2, 3], np.int64)
    assert merged(np.split(values, 2)).variance(ddof=0) == 1.25


def test_integers_merge_with_floats() -> None:
    moments = merged([np.array([2**60 + 1]), np.array([0.5])])
    assert (moments.count, moments.min, moments.max) == (2, 0.5, 2**60 + 1)
    assert moments.sum == float(2**60 + 1)


def test_nothing_and_missing_values_alone_have_no_mean() -> None:
    moments = merged([np.array([]), np.array([np.nan, np.nan])])
    assert (moments.count, moments.missing, moments.sum) == (0, 2, 0)
    assert (moments.mean, moments.min, moments.max, moments.variance(), moments.stddev()) == (None,) * 5


def test_one_value_has_a_population_variance_only() -> None:
    moments = merged([np.array([3.0])])
    assert (moments.variance(ddof=0), moments.variance()) == (0, None)


def test_an_empty_site_does_not_spoil_the_statistics_of_others() -> None:
    moments = merged([np.array([20.0, 22, 24]), np.array([30.0]), np.array([])])
    assert (moments.count, moments.sum, moments.mean, moments.min, moments.max) == (4, 96, 24, 20, 30)
    assert moments.stddev(ddof=0) == pytest.approx(3.741657, abs=1e-6)
    assert moments.stddev() == pytest.approx(4.320494, abs=1e-6)


def test_infinite_values_are_failures_and_leave_the_rest_alone() -> None:
    moments = merged([np.array([1.0, np.inf, -np.inf, np.nan, 3.0])])
    assert (moments.count, moments.missing, moments.failures, moments.mean) == (2, 1, 2, 2)


def test_huge_floats_have_a_mean_though_their_sum_overflows() -> None:
    moments = merged([np.array([1.5e308, 1.5e308]), np.array([1.5e308])])
    assert (moments.mean, moments.sum) == (1.5e308, np.inf)


@pytest.mark.parametrize(
    "change",
    [{"count": -1}, {"count": None}, {"mean_high": "1"}, {"min": [1]}, {"total": 1.5}, {"missing": True}],
)
def test_unusable_data_are_refused_by_name(change: dict[str, Any]) -> None:
    data = merged([np.array([1, 2])]).to_data() | change
    with pytest.raises(AlgebraError, match=next(iter(change))):
        Moments.from_data(data)
