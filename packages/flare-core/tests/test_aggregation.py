"""What the weighted mean promises."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_core import (
    DtypeMismatchError,
    EmptyRoundError,
    FLModel,
    ModelError,
    NonFiniteError,
    Reply,
    ShapeMismatchError,
    UnknownKeyError,
    WeightedMean,
    WeightError,
)


def reply(site, params, *, steps=1, params_type=None):
    model = FLModel(params=params, params_type=params_type, meta={"NUM_STEPS_CURRENT_ROUND": steps})
    return Reply(site, "train", model, 0)


def mean_of(*replies, **options):
    mean = WeightedMean(**options)
    for each in replies:
        mean.add(each)
    return mean


def test_contributions_are_weighted_by_their_steps():
    mean = mean_of(reply("a", {"w": np.array([1.0, 2.0])}, steps=1), reply("b", {"w": np.array([3.0, 6.0])}, steps=3))
    assert mean.result().params["w"].tolist() == [2.5, 5.0]


def test_a_site_weight_multiplies_the_steps():
    mean = mean_of(reply("a", {"w": np.ones(1)}), reply("b", {"w": np.zeros(1)}), site_weights={"a": 3})
    assert mean.result().params["w"].tolist() == [0.75]


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.complex64, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_the_mean_keeps_dtype_and_shape(dtype, shape):
    replies = [reply(str(number), {"w": np.full(shape, number, dtype)}) for number in (1, 2)]
    result = mean_of(*replies).result().params["w"]
    assert (result.dtype, result.shape) == (np.dtype(dtype), shape)
    assert np.all(result.astype(np.complex128) == 1.5)


def test_sums_of_half_precision_run_in_single_precision():
    replies = [reply(str(number), {"w": np.array([60000.0], np.float16)}) for number in range(3)]
    assert mean_of(*replies).result().params["w"].tolist() == [60000.0]


def test_large_tensors_are_summed_in_blocks_without_a_seam():
    generator = np.random.default_rng(1)
    arrays = [generator.normal(size=200_001) for _ in range(3)]
    result = mean_of(*(reply(str(index), {"w": array}, steps=index + 1) for index, array in enumerate(arrays))).result()
    expected = np.average(arrays, axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(result.params["w"], expected, rtol=1e-15, atol=1e-15)


def test_arrays_of_a_contribution_are_not_changed():
    array = np.arange(4.0)
    mean = mean_of(reply("a", {"w": array}), reply("b", {"w": array}))
    mean.update(FLModel(params={"w": np.zeros(4)}))
    assert array.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_each_key_is_averaged_over_the_sites_that_sent_it():
    mean = mean_of(
        reply("a", {"a": np.array([2.0]), "b": np.array([2.0])}),
        reply("b", {"b": np.array([4.0]), "c": np.array([4.0])}),
    )
    assert {key: value.item() for key, value in mean.result().params.items()} == {"a": 2.0, "b": 3.0, "c": 4.0}


def test_nested_params_come_back_nested():
    mean = mean_of(reply("a", {"layer": {"w": np.ones(2)}}), reply("b", {"layer": {"w": np.zeros(2)}}))
    assert mean.result().params["layer"]["w"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("exclude", ["running_.*", ["bn.running_mean"]])
def test_excluded_keys_stay_the_servers_own(exclude):
    mean = mean_of(reply("a", {"w": np.ones(1), "bn.running_mean": np.ones(1)}), exclude=exclude)
    updated = mean.update(FLModel(params={"w": np.zeros(1), "bn.running_mean": np.zeros(1)}))
    assert (updated.params["w"].item(), updated.params["bn.running_mean"].item()) == (1.0, 0.0)


def test_booleans_are_true_from_one_half_up():
    params = [{"flag": np.array([True, True, False])}, {"flag": np.array([True, False, False])}]
    result = mean_of(*(reply(str(index), each) for index, each in enumerate(params))).result().params["flag"]
    assert result.dtype == np.bool_
    assert result.tolist() == [True, True, False]


def test_a_site_with_weight_zero_counts_for_nothing():
    mean = mean_of(reply("a", {"w": np.ones(1)}, steps=0), reply("b", {"w": np.full(1, 5.0)}))
    assert mean.result().params["w"].tolist() == [5.0]


def test_no_contribution_is_an_error():
    with pytest.raises(EmptyRoundError, match="no site contributed"):
        WeightedMean().result()


def test_whole_models_and_differences_do_not_mix():
    mean = mean_of(reply("site-1", {"w": np.ones(1)}))
    with pytest.raises(ModelError, match="site-2 sent params_type DIFF where site-1 sent FULL"):
        mean.add(reply("site-2", {"w": np.ones(1)}, params_type="DIFF"))


def test_shapes_that_disagree_name_both_sites_and_shapes():
    mean = mean_of(reply("site-1", {"lora_A": np.ones((8, 16))}))
    with pytest.raises(ShapeMismatchError, match=r"'lora_A': site-2 sent shape \(4, 16\), site-1 sent \(8, 16\)"):
        mean.add(reply("site-2", {"lora_A": np.ones((4, 16))}))


def test_kinds_of_numbers_that_disagree_are_refused():
    mean = mean_of(reply("site-1", {"n": np.ones(1, np.int64)}))
    with pytest.raises(DtypeMismatchError, match="'n': site-2 sent float64, site-1 sent int64"):
        mean.add(reply("site-2", {"n": np.ones(1)}))


def test_text_has_no_mean():
    with pytest.raises(DtypeMismatchError, match="'names': a sent"):
        WeightedMean().add(reply("a", {"names": np.array(["x"])}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_values_that_are_not_finite_name_site_and_key(value, dtype):
    array = np.ones(100_000, dtype)
    array[-1] = value
    with pytest.raises(NonFiniteError, match=r"site-2: 'w' holds.* 1 that are NaN or infinite"):
        mean_of(reply("site-1", {"w": np.ones(100_000, dtype)}), reply("site-2", {"w": array}))


def test_a_block_whose_sum_overflows_is_still_finite():
    array = np.full(4, 3e38, np.float32)
    assert mean_of(reply("a", {"w": array})).result().params["w"].tolist() == array.tolist()


@pytest.mark.parametrize("steps", [-1, float("nan"), float("inf"), "many", None])
def test_a_weight_that_is_none_names_the_site(steps):
    with pytest.raises(WeightError, match=r"site-3: meta\[\"NUM_STEPS_CURRENT_ROUND\"\] is"):
        WeightedMean().add(reply("site-3", {"w": np.ones(1)}, steps=steps))


def test_an_unknown_key_is_refused_and_names_who_sent_it():
    mean = mean_of(reply("site-1", {"w": np.ones(1)}), reply("site-2", {"w": np.ones(1), "v": np.ones(1)}))
    with pytest.raises(UnknownKeyError, match="site-2 holds 1 of 2 keys that the global model does not: 'v'"):
        mean.update(FLModel(params={"w": np.zeros(1)}))


def test_reset_forgets_everything():
    mean = mean_of(reply("a", {"w": np.ones(1)}))
    mean.reset()
    mean.add(reply("a", {"w": np.full(1, 7.0)}))
    assert mean.result().params["w"].tolist() == [7.0]


arrays = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(np.array)
contributions = st.lists(st.tuples(arrays, st.integers(1, 1000)), min_size=1, max_size=6)


@given(contributions, st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_the_order(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    first, second = (
        mean_of(*(reply(str(i), {"w": array}, steps=steps) for i, (array, steps) in enumerate(order)))
        .result()
        .params["w"]
        for order in (parts, shuffled)
    )
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-6)


@given(contributions)
def test_the_mean_lies_within_the_contributions_and_equals_numpys(parts):
    result = mean_of(*(reply(str(i), {"w": array}, steps=steps) for i, (array, steps) in enumerate(parts))).result()
    expected = np.average([array for array, _ in parts], axis=0, weights=[steps for _, steps in parts])
    np.testing.assert_allclose(result.params["w"], expected, rtol=1e-9, atol=1e-6)


@given(contributions, st.integers(1, 999))
def test_splitting_a_site_in_two_changes_nothing(parts, share):
    array, steps = parts[0]
    whole = [reply("0", {"w": array}, steps=steps * 1000)]
    halves = [
        reply("0a", {"w": array}, steps=steps * share),
        reply("0b", {"w": array}, steps=steps * (1000 - share)),
    ]
    rest = [reply(str(i), {"w": other}, steps=n * 1000) for i, (other, n) in enumerate(parts[1:], 1)]
    first, second = (mean_of(*head, *rest).result().params["w"] for head in (whole, halves))
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-6)
