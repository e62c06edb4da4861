"""The weighted mean: weights, dtypes, exclusions and errors."""

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
from flare_core.model import flatten
from flare_core.tensor_blocks import LazyParams, TensorBlocks, check_finite


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


def test_large_tensors_are_summed_in_blocks():
    generator = np.random.default_rng(1)
    arrays = [generator.normal(size=200_001) for _ in range(3)]
    result = mean_of(*(reply(str(index), {"w": array}, steps=index + 1) for index, array in enumerate(arrays))).result()
    expected = np.average(arrays, axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(result.params["w"], expected, rtol=1e-15, atol=1e-15)


def test_the_arrays_of_a_contribution_are_not_changed():
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
def test_the_server_keeps_its_values_of_excluded_keys(exclude):
    mean = mean_of(reply("a", {"w": np.ones(1), "bn.running_mean": np.ones(1)}), exclude=exclude)
    updated = mean.update(FLModel(params={"w": np.zeros(1), "bn.running_mean": np.zeros(1)}))
    assert (updated.params["w"].item(), updated.params["bn.running_mean"].item()) == (1.0, 0.0)


def test_means_of_booleans_are_true_from_one_half():
    params = [{"flag": np.array([True, True, False])}, {"flag": np.array([True, False, False])}]
    result = mean_of(*(reply(str(index), each) for index, each in enumerate(params))).result().params["flag"]
    assert result.dtype == np.bool_
    assert result.tolist() == [True, True, False]


@pytest.mark.parametrize("steps", [(0, 1), (1, 0)])
def test_a_site_with_weight_zero_counts_for_nothing(steps):
    replies = [reply(f"site-{each}", {"w": np.full(1, 5.0 * each)}, steps=each) for each in steps]
    assert mean_of(*replies).result().params["w"].tolist() == [5.0]


def test_no_contribution_is_an_error():
    with pytest.raises(EmptyRoundError, match="no site contributed"):
        WeightedMean().result()


def test_whole_models_and_differences_do_not_mix():
    mean = mean_of(reply("site-1", {"w": np.ones(1)}))
    with pytest.raises(ModelError, match="site-2 sent params_type DIFF, but site-1 sent FULL"):
        mean.add(reply("site-2", {"w": np.ones(1)}, params_type="DIFF"))


def test_the_error_for_different_shapes_names_both_sites():
    mean = mean_of(reply("site-1", {"lora_A": np.ones((8, 16))}))
    with pytest.raises(ShapeMismatchError, match=r"'lora_A': site-2 sent shape \(4, 16\), site-1 sent \(8, 16\)"):
        mean.add(reply("site-2", {"lora_A": np.ones((4, 16))}))


def test_different_kinds_of_numbers_are_rejected():
    mean = mean_of(reply("site-1", {"n": np.ones(1, np.int64)}))
    with pytest.raises(DtypeMismatchError, match="'n': site-2 sent float64, site-1 sent int64"):
        mean.add(reply("site-2", {"n": np.ones(1)}))


def test_text_has_no_mean():
    with pytest.raises(DtypeMismatchError, match="'names': a sent"):
        WeightedMean().add(reply("a", {"names": np.array(["x"])}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_errors_about_values_that_are_not_finite_name_site_and_key(value, dtype):
    array = np.ones(100_000, dtype)
    array[-1] = value
    with pytest.raises(NonFiniteError, match=r"site-2: 'w' holds.* 1 that are NaN or infinite"):
        mean_of(reply("site-1", {"w": np.ones(100_000, dtype)}), reply("site-2", {"w": array}))


def test_a_block_whose_sum_overflows_is_still_finite():
    array = np.full(4, 3e38, np.float32)
    assert mean_of(reply("a", {"w": array})).result().params["w"].tolist() == array.tolist()


@pytest.mark.parametrize("steps", [-1, float("nan"), float("inf"), "many", None])
def test_the_error_for_an_invalid_weight_names_the_site(steps):
    with pytest.raises(WeightError, match=r"site-3: meta\[\"NUM_STEPS_CURRENT_ROUND\"\] is"):
        WeightedMean().add(reply("site-3", {"w": np.ones(1)}, steps=steps))


def test_the_error_for_an_unknown_key_names_its_sender():
    mean = mean_of(reply("site-1", {"w": np.ones(1)}), reply("site-2", {"w": np.ones(1), "v": np.ones(1)}))
    with pytest.raises(UnknownKeyError, match="site-2 has 1 of 2 keys that the global model does not have: 'v'"):
        mean.update(FLModel(params={"w": np.zeros(1)}))


def test_reset_forgets_everything():
    mean = mean_of(reply("a", {"w": np.ones(1)}))
    mean.reset()
    mean.add(reply("a", {"w": np.full(1, 7.0)}))
    assert mean.result().params["w"].tolist() == [7.0]


class InBlocks(LazyParams):
    """Params that arrive block by block; those under ``same`` were returned unchanged."""

    def __init__(self, params, *, block_items=2, same=()):
        self.params = params
        self.block_items = block_items
        self.same = same

    def __getitem__(self, name):
        return self.params[name]

    def __iter__(self):
        return iter(self.params)

    def __len__(self):
        return len(self.params)

    def tensor_keys(self):
        return [key for key, _ in flatten(self.params)]

    def tensors(self):
        for key, value in flatten(self.params):
            flat = value.reshape(-1)
            parts = (flat[start : start + self.block_items] for start in range(0, flat.size, self.block_items))
            yield key, TensorBlocks(value.dtype, value.shape, parts, value if key in self.same else None)


def test_blocks_of_any_size_make_the_same_sum():
    values = [np.arange(7.0).reshape(7, 1), np.arange(7.0).reshape(7, 1) ** 2]
    mean = mean_of(
        *(reply(str(items), InBlocks({"w": each}, block_items=items)) for items, each in enumerate(values, 2))
    )
    assert mean.result().params["w"].tolist() == (np.add(*values) / 2).tolist()


def test_tensors_that_all_sites_return_unchanged_are_not_rounded():
    sent = np.array([0.1, 1 / 3], np.float32)
    mean = mean_of(*(reply(site, InBlocks({"w": sent}, same={"w"}), steps=0.1) for site in "abc"))
    assert mean.result().params["w"] is sent


@pytest.mark.parametrize("order", ["ssc", "scs", "css"])
def test_a_tensor_that_one_site_returns_unchanged_counts_with_its_weight(order):
    sent = {"s": np.array([1.0, 2.0, 4.0]), "c": np.array([8.0, 16.0, 32.0])}
    replies = [
        reply(f"{index}", InBlocks({"w": sent[each]}, same={"w"} if each == "s" else ()), steps=index + 1)
        for index, each in enumerate(order)
    ]
    expected = np.average([sent[each] for each in order], axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(mean_of(*replies).result().params["w"], expected, rtol=1e-15)


def test_different_tensors_that_sites_return_unchanged_are_averaged():
    replies = [reply(str(value), InBlocks({"w": np.full(3, value)}, same={"w"})) for value in (1.0, 2.0)]
    assert mean_of(*replies).result().params["w"].tolist() == [1.5] * 3


def test_differences_equal_to_the_sent_tensor_are_averaged():
    one = np.array([1, 2])
    replies = [reply(site, InBlocks({"w": one}, same={"w"}), params_type="DIFF") for site in "ab"]
    result = mean_of(*replies).result()
    assert (result.params["w"].dtype, result.params["w"].tolist(), str(result.params_type)) == (float, [1, 2], "DIFF")


def test_a_returned_model_with_nan_is_rejected():
    sent = np.array([1.0, np.nan])
    with pytest.raises(NonFiniteError, match=r"site-1: 'w' holds 1 that are NaN or infinite"):
        mean_of(reply("site-1", InBlocks({"w": sent}, same={"w"})))


def test_a_result_does_not_change_when_more_is_added():
    mean = mean_of(reply("a", {"w": np.array([1.0, 2.0])}))
    first = mean.result()
    mean.add(reply("b", {"w": np.array([3.0, 6.0])}))
    assert first.params["w"].tolist() == [1.0, 2.0]
    assert mean.result().params["w"].tolist() == mean.result().params["w"].tolist() == [2.0, 4.0]


def test_the_result_says_round_and_type():
    mean = WeightedMean()
    mean.add(Reply("a", "train", FLModel(params={"w": np.ones(1)}, params_type="DIFF"), 7))
    result = mean.result()
    assert (result.current_round, str(result.params_type)) == (7, "DIFF")
    mean.reset()
    mean.add(reply("a", {"w": np.ones(1)}))
    assert str(mean.result().params_type) == "FULL"


def test_integers_are_summed_without_overflow_and_rounded_to_even():
    values = [np.array([200, 1, 2], np.uint8), np.array([201, 2, 3], np.uint8)]
    result = mean_of(*(reply(str(index), {"n": each}) for index, each in enumerate(values))).result().params["n"]
    assert (result.dtype, result.tolist()) == (np.uint8, [200, 2, 2])


@pytest.mark.parametrize("value", [2**53 - 1, True])
def test_integers_and_booleans_are_exact(value):
    result = mean_of(*(reply(site, {"n": np.array([value])}) for site in "ab")).result().params["n"]
    assert (result.dtype, result.tolist()) == (np.array([value]).dtype, [value])


def test_differences_of_integers_stay_real_until_they_are_added():
    replies = [reply(str(number), {"n": np.array([number])}, params_type="DIFF") for number in (1, 2)]
    assert mean_of(*replies).result().params["n"].tolist() == [1.5]
    updated = mean_of(*replies).update(FLModel(params={"n": np.array([11])}))
    assert updated.params["n"].tolist() == [12]  # 12.5, ties to even


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble, np.complex128, np.clongdouble])
def test_wide_numbers_keep_their_precision(dtype):
    value = 1 + np.finfo(dtype).eps
    result = mean_of(*(reply(site, {"w": np.array([value], dtype)}) for site in "ab")).result().params["w"]
    assert (result.dtype, result[0]) == (np.dtype(dtype), value)


def test_floats_of_several_widths_are_averaged_in_the_first_ones_dtype():
    result = mean_of(reply("a", {"w": np.ones(1, np.float16)}), reply("b", {"w": np.full(1, 2.0)})).result()
    assert (result.params["w"].dtype, result.params["w"].tolist()) == (np.float16, [1.5])


@pytest.mark.parametrize(("first", "second"), [(bool, int), (complex, float), (int, bool), (float, complex)])
def test_each_kind_of_number_is_averaged_with_its_own(first, second):
    mean = mean_of(reply("a", {"n": np.ones(1, first)}))
    with pytest.raises(DtypeMismatchError, match=f"'n': b sent {np.dtype(second)}, a sent {np.dtype(first)}"):
        mean.add(reply("b", {"n": np.ones(1, second)}))


def test_signed_and_unsigned_integers_are_averaged():
    mean = mean_of(reply("a", {"n": np.array([1], np.uint8)}), reply("b", {"n": np.array([3])}))
    assert mean.result().params["n"].tolist() == [2]


def test_the_error_for_an_overflow_names_the_weight_as_the_reason():
    with pytest.raises(NonFiniteError, match=r"a: 'w' overflows when it is weighted"):
        mean_of(reply("a", {"w": np.array([3e38], np.float32)}, steps=10))


def test_the_error_counts_the_values_of_the_first_block_with_nan():
    array = np.ones(200_000)
    array[[3, 5, 199_999]] = np.nan
    with pytest.raises(NonFiniteError, match=r"a: 'layer.w' holds, among 65536 values looked at, 2 that are NaN"):
        mean_of(reply("a", {"layer": {"w": array}}))


def test_a_contribution_without_params_is_rejected():
    with pytest.raises(ModelError, match="site-1: the reply to 'train' holds no params"):
        WeightedMean().add(Reply("site-1", "train", FLModel(metrics={"loss": 1.0})))


def test_the_error_for_a_total_weight_of_zero_names_the_sites():
    with pytest.raises(EmptyRoundError, match="the total weight of a, b is zero"):
        mean_of(reply("a", {"w": np.ones(1)}, steps=0), reply("b", {"w": np.ones(1)}, steps=0)).result()


def test_the_error_for_an_invalid_site_weight_names_site_and_setting():
    with pytest.raises(WeightError, match="site-2: its entry in aggregation_weights is -1"):
        WeightedMean(site_weights={"site-1": 1, "site-2": -1})


def test_exclude_searches_and_a_list_names_whole_keys():
    params = {"bn": {"mean": np.ones(1)}, "bn.mean.w": np.ones(1), "w": np.ones(1)}
    assert [*mean_of(reply("a", params), exclude=r"mean$").result().params] == ["bn.mean.w", "w"]
    mean = WeightedMean(exclude=(name for name in ["bn.mean", "w"]))
    for _ in range(2):
        mean.reset()
        mean.add(reply("a", params))
        assert [*mean.result().params] == ["bn.mean.w"]
    assert mean.exclude == ["bn.mean", "w"]


def test_an_invalid_regular_expression_is_rejected():
    with pytest.raises(ModelError, match=r"exclude_vars is '\[', not a valid regular expression: unterminated"):
        WeightedMean(exclude="[")


def test_an_update_without_a_model_is_the_mean():
    assert mean_of(reply("a", {"w": np.ones(1)})).update(FLModel()).params["w"].tolist() == [1.0]


def test_array_likes_are_averaged():
    assert mean_of(reply("a", {"w": 1.0}), reply("b", {"w": 2.0})).result().params["w"] == 1.5


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, ml_dtypes.bfloat16])
def test_a_model_that_is_not_finite_names_the_key_and_the_source(dtype):
    bad = np.array([1, np.nan, np.inf], dtype)
    check_finite(FLModel(params={"n": np.array([3]), "w": np.ones(2, dtype)}), source="the result")
    check_finite(FLModel(), source="the result")
    with pytest.raises(NonFiniteError, match=r"^the result: 'a.w' holds 2 that are NaN or infinite"):
        check_finite(FLModel(params={"b": np.ones(2), "a": {"w": bad}}), source="the result")


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
