"""Fixed-point numbers: exact sums in any order, bounds, and refusals that name the parameter."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_edge.errors import EdgeError
from flare_edge.fixed_point import MAX_UPDATES, MAX_WEIGHT, Scale, add, metric_value


@given(bound=st.floats(1e-9, 1e9), share=st.floats(-1, 1), weight=st.integers(1, MAX_WEIGHT))
def test_a_value_is_rounded_to_half_a_step_and_the_largest_total_fits(bound, share, weight):
    scale = Scale.for_norm(bound)
    value = np.float64([bound * share, bound])
    encoded = scale.encode({"w": value}, weight)
    decoded = scale.decode(encoded, weight)["w"]
    assert np.abs(decoded - value).max() <= 2.0 ** -(scale.bits + 1)
    assert abs(int(encoded["w"][1])) // weight * MAX_WEIGHT * MAX_UPDATES < 2**63
    assert bound / 2.0**-scale.bits > 2**31  # no bit is wasted


@given(st.lists(st.tuples(st.floats(-4, 4, width=32), st.integers(1, MAX_WEIGHT)), min_size=1), st.randoms())
def test_totals_do_not_depend_on_the_order(updates, order: random.Random):
    scale = Scale.for_norm(4.0)
    parts = [scale.encode({"w": np.float32([value])}, weight) for value, weight in updates]
    total: dict[str, np.ndarray] = {}
    for part in parts:
        add(total, part)
    order.shuffle(parts)
    shuffled: dict[str, np.ndarray] = {}
    for part in parts:
        add(shuffled, part)
    assert total["w"].tolist() == shuffled["w"].tolist()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float32([1, np.nan]), "'layer.bias' of the update holds NaN or infinity"),
        (np.float32([-np.inf]), "'layer.bias' of the update holds NaN or infinity"),
        (np.float64([-4.0000001]), "'layer.bias' of the update holds 4, but max_update_norm is 4"),
    ],
)
def test_values_that_cannot_be_encoded_are_refused_by_name(value, message):
    with pytest.raises(EdgeError, match=message):
        Scale.for_norm(4.0).encode({"layer.weight": np.zeros((2, 2), np.float32), "layer.bias": value}, 1)


@pytest.mark.parametrize("weight", [0, -1, MAX_WEIGHT + 1, 1.5, True])
def test_weights_that_are_no_counts_are_refused(weight):
    with pytest.raises(EdgeError, match="the weight of an update is"):
        Scale.for_norm(1.0).encode({}, weight)


def test_totals_that_do_not_match_are_refused_and_nothing_is_added():
    total = {"a": np.ones(2, np.int64), "b": np.ones(2, np.int64)}
    for other, message in [
        ({"a": np.ones(2, np.int64)}, "differ in 'b'"),
        ({"a": np.ones(2, np.int64), "b": np.ones(3, np.int64)}, "'b' has shape"),
        ({"a": np.ones(2, np.int64), "b": np.ones(2)}, "'b' of a sum of updates is float64"),
    ]:
        with pytest.raises(EdgeError, match=message):
            add(total, other)
    assert total["a"].tolist() == total["b"].tolist() == [1, 1]


def test_scalars_and_empty_arrays_keep_their_shapes():
    scale = Scale.for_norm(1.0)
    encoded = scale.encode({"scalar": np.float32(0.5), "empty": np.zeros((0, 3), np.float32)}, 2)
    total: dict[str, np.ndarray] = {}
    add(total, encoded)
    add(total, encoded)
    decoded = scale.decode(total, 4)
    assert decoded["scalar"].tolist() == 0.5
    assert decoded["empty"].shape == (0, 3)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, MAX_WEIGHT)), min_size=1), st.randoms())
def test_sums_of_metrics_do_not_depend_on_the_order(values, order: random.Random):
    parts = [weight * metric_value(value) for value, weight in values]
    total = sum(parts)
    order.shuffle(parts)
    assert sum(parts) == total


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12])
def test_metrics_that_are_no_numbers_are_refused(value):
    with pytest.raises(EdgeError, match="a metric is"):
        metric_value(value)
