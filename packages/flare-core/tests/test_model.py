"""FLModel and how an update is applied to a model."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FLModel, ModelError, ParamsType, ShapeMismatchError, UnknownKeyError, updated
from flare_core.model import flatten, unflatten


def test_params_without_a_type_are_a_whole_model():
    assert FLModel(params={"w": np.ones(1)}).params_type is ParamsType.FULL
    assert FLModel().params_type is None


def test_a_type_may_be_given_as_text():
    assert FLModel(params={}, params_type="DIFF").params_type is ParamsType.DIFF


@pytest.mark.parametrize(
    "arguments",
    [
        {"params_type": "FULL"},
        {"params_type": "HALF", "params": {}},
        {"params": [1, 2]},
        {"metrics": 0.5},
        {"meta": []},
        {"current_round": -1},
        {"total_rounds": 1.5},
        {"start_round": True},
    ],
)
def test_invalid_model_fields_are_rejected(arguments):
    with pytest.raises(ModelError):
        FLModel(**arguments)


def test_a_summary_holds_no_values():
    text = repr(FLModel(params={"w": np.full(2, 123.0)}, metrics={"loss": 1.0}, current_round=2))
    assert "123" not in text
    assert "current_round=2" in text


def test_flatten_and_unflatten_are_inverse():
    params = {"a": 1, "b": {"c": 2, "d": {"e": 3}}, "b.c": 4}
    flat = dict(flatten(params))
    assert flat == {"a": 1, ("b", "c"): 2, ("b", "d", "e"): 3, "b.c": 4}
    assert unflatten(flat) == params


def test_a_full_update_replaces_and_the_rest_stays_bit_for_bit():
    base = {f"k{index}": np.full(2, float(index)) for index in range(10)}
    result = updated(FLModel(params=base), FLModel(params={"k1": np.zeros(2)}))
    assert result.params["k1"].tolist() == [0, 0]
    assert all(result.params[key] is base[key] for key in base if key != "k1")


def test_a_difference_is_added_and_changes_neither_argument():
    base, difference = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    result = updated(FLModel(params={"w": base}), FLModel(params={"w": difference}, params_type="DIFF"))
    assert result.params["w"].tolist() == [1.5, 1.0]
    assert base.tolist() == [1.0, 2.0]
    assert difference.tolist() == [0.5, -1.0]


def test_a_difference_keeps_the_models_dtype():
    result = updated(
        FLModel(params={"w": np.ones(2, np.float16)}), FLModel(params={"w": np.ones(2, np.float32)}, params_type="DIFF")
    )
    assert result.params["w"].dtype == np.float16


def test_an_empty_model_takes_the_first_keys():
    assert list(updated(FLModel(params={}), FLModel(params={"w": np.ones(1)})).params) == ["w"]


def test_the_error_for_unknown_keys_names_a_wrappers_prefix():
    base = {f"fc{index}.weight": np.ones(1) for index in range(3)}
    wrapped = {f"_module.{key}": value for key, value in base.items()}
    with pytest.raises(UnknownKeyError, match=r"prefix '_module\.'") as caught:
        updated(FLModel(params=base), FLModel(params=wrapped))
    assert "'_module.fc0.weight'" in str(caught.value)
    assert "'fc0.weight'" in str(caught.value)


def test_the_error_for_a_changed_shape_names_key_and_shapes():
    with pytest.raises(ShapeMismatchError, match=r"'w': the update has shape \(3,\), the global model has \(2,\)"):
        updated(FLModel(params={"w": np.ones(2)}), FLModel(params={"w": np.ones(3)}))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32])
def test_a_counter_takes_updates_of_narrower_dtypes(dtype):
    found = updated(FLModel(params={"n": np.array([1, 2])}), FLModel(params={"n": np.full(2, 3, dtype)}))
    assert (found.params["n"].dtype, found.params["n"].tolist()) == (np.int64, [3, 3])
