"""Contributions that were trained from an older model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flare_core import FLModel, Reply, WeightedMean
from flare_core.model import ParamsType, flatten
from flare_core.staleness import discount, rebased
from flare_core.tensor_blocks import LazyParams, TensorBlocks

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
    mean = WeightedMean()  # reads block by block
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


class InPairs(LazyParams):
    """Params that arrive two numbers at a time."""

    def __init__(self, **params):
        self._params = params

    def tensor_keys(self):
        return [*self._params]

    def __iter__(self):
        return iter(self._params)

    def __len__(self):
        return len(self._params)

    def __getitem__(self, name):
        return self._params[name]

    def tensors(self):
        for key, value in self._params.items():
            flat = value.reshape(-1)
            yield key, TensorBlocks(value.dtype, value.shape, (flat[i : i + 2] for i in range(0, flat.size, 2)))


def test_each_block_is_moved_by_its_own_part_of_the_models():
    sent, new, now = np.arange(5.0), np.arange(5.0) ** 2, np.arange(5.0) ** 3
    params = rebased(stale(InPairs(w=new), {"w": sent}), FLModel(params={"w": now}), 0.25).model.params
    ((key, tensor),) = params.tensors()
    assert (key, tensor.dtype, tensor.shape) == ("w", np.float64, (5,))
    assert np.concatenate([*tensor.blocks]).tolist() == (now + 0.25 * (new - sent)).tolist()


def test_nested_matrices_are_moved_by_the_models_under_their_own_names():
    def model(scale):
        inner = {"w": np.full((2, 3), 2.0 * scale)}
        return {"a": {"deep": inner, "w": np.full((3, 1), 3.0 * scale)}, "b": {"w": np.full((2, 2), 5.0 * scale)}}

    params = rebased(stale(model(8), model(2)), FLModel(params=model(100)), 0.5).model.params
    assert params["a"]["deep"]["w"].tolist() == [[206.0] * 3] * 2
    assert params["a"]["w"].tolist() == [[309.0]] * 3
    assert params["b"]["w"].tolist() == [[515.0] * 2] * 2
    assert [*params] == ["a", "b"]
    assert len(params) == 2


def test_a_contribution_whose_model_is_not_known_is_left_as_it_is():
    reply = Reply("site-1", "train", FLModel(params={"w": np.ones(2), "scale": np.array(3.0)}))
    params = rebased(reply, FLModel(params={"w": np.full(2, 7.0), "scale": np.array(9.0)}), 0.5).model.params
    assert (params["w"].tolist(), params["scale"].item()) == ([1.0, 1.0], 3.0)


def test_another_shape_is_left_to_the_aggregator_which_names_it():
    reply = stale({"w": np.ones(3)}, {"w": np.zeros(2)})
    assert rebased(reply, FLModel(params={"w": np.ones(2)}), 0.5).model.params["w"].tolist() == [1.0] * 3


def test_what_needs_no_move_is_the_reply_itself():
    empty = Reply("site-1", "train", FLModel(metrics={"accuracy": 1.0}))
    assert rebased(empty, FLModel(params={"w": np.ones(1)}), 0.5) is empty
    difference = stale({"w": np.ones(1)}, {}, params_type=ParamsType.DIFF)
    assert rebased(difference, FLModel(params={"w": np.ones(1)}), 1.0) is difference


def test_large_counters_and_complex_numbers_are_exact():
    sent = {"n": np.array([2**24]), "z": np.array([1 + 1j], np.complex64)}
    new = {"n": np.array([2**24 + 1]), "z": np.array([3 + 5j], np.complex64)}
    now = {"n": np.array([2**24 + 5]), "z": np.array([10j], np.complex64)}
    params = rebased(stale(new, sent), FLModel(params=now), 1.0).model.params
    assert params["n"].tolist() == [2**24 + 6]  # in single precision, 2**24 + 4
    assert (params["z"].tolist(), params["z"].dtype) == ([2 + 14j], np.complex64)


def test_narrow_floats_are_moved_in_single_precision():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    sent, new, now = ({"w": np.array([value], ml_dtypes.bfloat16)} for value in (1, 258, -128))
    params = rebased(stale(new, sent), FLModel(params=now), 0.5).model.params
    assert params["w"].astype(float).tolist() == [0.5]  # (258 - 1) / 2 - 128; 257 is no bfloat16
