"""Keys and values of a Keras model's parameters."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from flare_core import ModelError, ShapeMismatchError, UnknownKeyError
from flare_recipes_tf import get_params, set_params
from flare_recipes_tf.params import trainable_variables


class Branched(keras.Model):
    """Layers called in another order than created, in lists and dicts, some shared or without weights."""

    def __init__(self):
        super().__init__()
        self.second = layers.Dense(4)
        self.first = layers.Dense(4)
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.1)
        self.blocks = [layers.Dense(4) for _ in range(2)]
        self.heads = {"a": layers.Dense(2, name="head_7")}

    def call(self, x):
        x = self.norm(self.second(self.first(self.first(x))))
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](self.drop(x))


BRANCHED = [
    *("0/dense/kernel", "1/dense/bias", "2/dense/kernel", "3/dense/bias"),
    *("4/batch_normalization/gamma", "5/batch_normalization/beta"),
    *("6/batch_normalization/moving_mean", "7/batch_normalization/moving_variance"),
    *("8/dense/kernel", "9/dense/bias", "10/dense/kernel", "11/dense/bias", "12/head/kernel", "13/head/bias"),
]


def sequential() -> keras.Model:
    return keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)]
    )


def build_by_call(model: keras.Model) -> keras.Model:
    model(np.ones((1, 4), np.float32))
    return model


def build_inside_another(model: keras.Model) -> keras.Model:
    keras.Sequential([keras.Input((4,)), model])
    return model


@pytest.mark.parametrize("build", [build_by_call, build_inside_another])
def test_keys_do_not_depend_on_earlier_models_or_the_way_of_building(build):
    sequential()
    assert list(get_params(build(Branched()))) == BRANCHED


def test_keys_are_the_same_in_another_process():
    program = (
        "import keras; from keras import layers; from flare_recipes_tf import get_params\n"
        "model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(),"
        " layers.Dropout(0.5), layers.Dense(2)])\n"
        "print(*get_params(model))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.split() == list(get_params(sequential()))


def test_keys_omit_all_trailing_numbers_of_names():
    class Part_2(layers.Dense):
        pass

    models = [keras.Sequential([keras.Input((3,)), Part_2(2), layers.Dense(2, name="x_1_2")]) for _ in range(2)]
    for model in models:
        assert list(get_params(model)) == ["0/part/kernel", "1/part/bias", "2/x/kernel", "3/x/bias"]


def test_params_are_in_the_order_of_get_weights_and_survive_a_round_trip():
    model, other = sequential(), sequential()
    params = get_params(model)
    for value, weight in zip(params.values(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)
    set_params(other, params)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(other(x), model(x))


def test_trainable_variables_leave_out_statistics_and_frozen_layers():
    model = sequential()
    model.layers[-1].trainable = False
    assert list(trainable_variables(model)) == [
        *("0/dense/kernel", "1/dense/bias", "2/batch_normalization/gamma", "3/batch_normalization/beta")
    ]
    assert list(trainable_variables(model).values()) == model.trainable_variables


def test_states_of_generators_metrics_and_optimizers_are_not_params():
    model = sequential()
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert len(get_params(model)) == 8


def test_params_are_copies():
    model = sequential()
    params = get_params(model)
    before = {key: value.copy() for key, value in params.items()}
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    for key, value in params.items():
        np.testing.assert_array_equal(value, before[key])
    set_params(model, params)
    params["0/dense/kernel"][:] = 7.0
    np.testing.assert_array_equal(get_params(model)["0/dense/kernel"], before["0/dense/kernel"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_are_those_of_the_variables(dtype):
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layers.Dense(2, dtype=dtype)])
    params = get_params(model)
    assert {str(value.dtype) for value in params.values()} == {dtype}
    set_params(model, {key: np.ones(value.shape, np.float64) for key, value in params.items()})
    assert all((value == 1).all() and value.dtype == dtype for value in get_params(model).values())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda params: params.pop("1/dense/bias"), ModelError, "params has no '1/dense/bias'"),
        (lambda params: params.update({"8/dense/kernel": 0}), UnknownKeyError, "'8/dense/kernel'"),
        (
            lambda params: params.update({"1/dense/bias": np.ones(5)}),
            ShapeMismatchError,
            r"'1/dense/bias' has shape \(5,\) in params but \(4,\) in this model",
        ),
    ],
)
def test_params_that_do_not_fit_are_named_and_leave_the_model_unchanged(change, error, message):
    model = sequential()
    before = model.get_weights()
    params = {key: value + 1 for key, value in get_params(model).items()}
    change(params)
    with pytest.raises(error, match=message):
        set_params(model, params)
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


@pytest.mark.filterwarnings("ignore:`build")
def test_the_error_for_an_unbuilt_model_says_how_to_build_it():
    half_built = Branched()
    half_built.build((None, 4))  # marks the model as built, but not its layers
    for model in (Branched(), keras.Sequential([layers.Dense(2)]), half_built):
        with pytest.raises(ModelError, match=r"begin it with keras\.Input"):
            get_params(model)


def test_a_normalization_layer_uses_the_statistics_that_were_set():
    model = keras.Sequential([keras.Input((2,)), layers.Normalization(), layers.Dense(1)])
    model.layers[0].adapt(np.array([[0.0, 0.0], [2.0, 4.0]]))
    model.compile("sgd", "mse")
    x = np.array([[5.0, 5.0], [1.0, 2.0]], np.float32)
    before = model.predict(x, verbose=0), model.evaluate(x, np.ones((2, 1)), verbose=0)  # compiles both functions
    received = {key: value + 3 if key.endswith("mean") else value for key, value in get_params(model).items()}
    kernel, bias = model.layers[1].get_weights()
    wanted = (x - received["0/normalization/mean"]) / np.sqrt(received["1/normalization/variance"]) @ kernel + bias
    set_params(model, received)
    np.testing.assert_allclose(model(x), wanted, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, rtol=1e-5)
    assert not np.allclose(model.predict(x, verbose=0), before[0])
    loss = model.evaluate(x, np.ones((2, 1)), verbose=0)
    np.testing.assert_allclose(loss, np.mean(np.square(wanted - 1)), rtol=1e-5)
