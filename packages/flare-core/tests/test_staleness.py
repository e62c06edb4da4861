"""Contributions that were made from an older model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flare_core import FLModel, Reply, WeightedMean
from flare_core.model import ParamsType, flatten
from flare_core.staleness import discount, rebased

VALUES = arrays(np.float64, 5, elements=st.floats(-1e3, 1e3))


def stale(params, sent, **rest) -> Reply:
    return Reply("site-1", "train", FLModel(params=params, **rest), 0, FLModel(params=sent))


@given(VALUES, VALUES, VALUES, st.floats(0, 1))
def test_whole_models_and_differences_are_moved_alike(old, step, now, factor):
    current = FLModel(params={"a": {"w": now}, "b": now})
    whole = rebased(stale({"a": {"w": old + step}, "b": old + step}, {"a": {"w": old}, "b": old}), current, factor)
    difference = stale({"a": {"w": step}, "b": step}, {}, params_type=ParamsType.DIFF)
    changed = rebased(difference, current, factor).model.params
    for _, value in flatten(whole.model.params):
        np.testing.assert_allclose(value, now + factor * step, atol=1e-9)
    for _, value in flatten(changed):
        np.testing.assert_allclose(value, factor * step, atol=1e-9)
    mean = WeightedMean()  # which reads block by block
    mean.add(whole)
    np.testing.assert_array_equal(mean.result().params["a"]["w"], whole.model.params["a"]["w"])


def test_counters_stay_whole_numbers_and_narrow_floats_narrow():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    sent = {"count": np.array(10), "half": np.ones(2, ml_dtypes.bfloat16), "flag": np.array([True])}
    now = {"count": np.array(25), "half": np.full(2, 3, ml_dtypes.bfloat16), "flag": np.array([False])}
    reply = stale({"count": np.array(15), "half": np.full(2, 2, ml_dtypes.bfloat16), "flag": np.array([True])}, sent)
    params = rebased(reply, FLModel(params=now), 0.5).model.params
    assert params["count"] == 28  # 25 + 5 / 2, ties to even
    assert params["count"].shape == ()
    assert params["half"].dtype == ml_dtypes.bfloat16
    assert params["half"].astype(float).tolist() == [3.5, 3.5]
    assert params["flag"].tolist() == [False]
    assert {key: value.dtype for key, value in params.items()} == {key: value.dtype for key, value in now.items()}


def test_what_the_site_was_not_given_is_left_as_it_is():
    reply = stale({"w": np.ones(2), "head": np.ones(3)}, {"w": np.zeros(2)})
    params = rebased(reply, FLModel(params={"w": np.full(2, 7.0), "head": np.full(3, 9.0)}), 1.0).model.params
    assert params["w"].tolist() == [8, 8]
    assert params["head"].tolist() == [1, 1, 1]


def test_the_discount_is_the_documented_formula():
    assert discount(0, 0.5) == 1
    assert discount(3, 0.5) == pytest.approx(1 / 2)
    assert discount(3, 1) == pytest.approx(1 / 4)
    assert discount(7, 0) == 1
