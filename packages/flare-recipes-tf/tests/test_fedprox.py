"""FedProx's proximal term compared with its closed form, in custom loops and in model.fit."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from flare_core import FLModel, ModelError
from flare_recipes_tf import ProximalLoss, get_params, set_params
from flare_recipes_tf.params import trainable_variables

MU = 0.3


@pytest.fixture
def model():
    return network()


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])


def moved(model: keras.Model, seed: int) -> dict:
    """Return a different global model, with different moving statistics too."""
    generator = np.random.default_rng(seed)
    return {key: value + generator.normal(size=value.shape).astype(value.dtype) for key, value in params_of(model)}


def params_of(model: keras.Model):
    return get_params(model).items()


def term(model: keras.Model, received: dict, mu: float):
    """Return the proximal term alone: the loss of predictions that equal the labels."""
    loss = ProximalLoss(keras.losses.MeanSquaredError(), model, mu)
    loss.start(FLModel(params=received))
    return loss(tf.zeros((1, 1)), tf.zeros((1, 1)))


def batch() -> tuple:
    generator = np.random.default_rng(9)
    return generator.normal(size=(8, 3)).astype(np.float32), generator.normal(size=(8, 1)).astype(np.float32)


def test_value_and_gradient_match_the_closed_form(model):
    received = moved(model, 1)
    with tf.GradientTape() as tape:
        loss = term(model, received, MU)
    gradients = tape.gradient(loss, model.trainable_variables)
    trained = {key: variable.value.numpy() for key, variable in trainable_variables(model).items()}
    squares = sum(np.square(value.astype(np.float64) - received[key]).sum() for key, value in trained.items())
    np.testing.assert_allclose(float(loss), MU / 2 * squares, rtol=1e-6)
    for (key, value), gradient in zip(trained.items(), gradients, strict=True):
        np.testing.assert_allclose(gradient, MU * (value - received[key]), rtol=1e-5, atol=1e-7)


def test_half_precision_variables_are_summed_in_float32():
    model = keras.Sequential([keras.Input((300,)), layers.Dense(300, dtype="float16")])
    received = {key: value + np.float16(4) for key, value in get_params(model).items()}
    # 90300 squares of about 16 exceed the range of float16.
    np.testing.assert_allclose(float(term(model, received, 1.0)), 8 * 90300, rtol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_of_fit_adds_the_closed_form_to_the_plain_step(weighted):
    x, y = batch()
    weights = np.linspace(0, 2, len(y)) if weighted else None
    rate, steps = 0.1, {}
    for mu in (0.0, MU):
        model = network()
        loss = ProximalLoss(keras.losses.MeanSquaredError(), model, mu)
        model.compile(optimizer=keras.optimizers.SGD(rate), loss=loss)
        for round_ in (1, 2):  # the function compiled in the first must use the second's global model
            set_params(model, get_params(network()))
            received = moved(model, round_)
            loss.start(FLModel(params=received))
            model.fit(x, y, sample_weight=weights, batch_size=len(y), verbose=0, shuffle=False)
            steps[mu, round_] = get_params(model)
    before = get_params(network())
    for round_ in (1, 2):
        received = moved(network(), round_)
        for key in trainable_variables(network()):
            wanted = steps[0.0, round_][key] - rate * MU * (before[key] - received[key])
            np.testing.assert_allclose(steps[MU, round_][key], wanted, rtol=1e-4, atol=1e-6)


def test_without_a_global_model_or_with_mu_0_the_loss_is_unchanged(model):
    x, y = batch()
    plain = keras.losses.MeanSquaredError()
    loss = ProximalLoss(plain, model, MU)
    assert float(loss(y, model(x))) == float(plain(y, model(x)))
    zero = ProximalLoss(plain, model, 0)
    zero.start(FLModel(params=moved(model, 1)))
    assert float(zero(y, model(x))) == float(plain(y, model(x)))


def test_a_compiled_custom_loop_adds_the_term_of_the_current_global_model(model):
    x, y = batch()
    received = moved(model, 1)
    plain = keras.losses.MeanSquaredError()
    loss = ProximalLoss(plain, model, MU)
    loss.start(FLModel(params=received))
    compiled = tf.function(lambda: loss(y, model(x)))
    for seed in (1, 2):
        received = moved(model, seed)
        loss.start(FLModel(params=received))
        wanted = float(plain(y, model(x))) + float(term(model, received, MU))
        np.testing.assert_allclose(float(compiled()), wanted, rtol=1e-6)


@pytest.mark.parametrize("mu", [-1, float("nan"), float("inf"), "0.1", None, True])
def test_an_invalid_mu_is_refused(model, mu):
    with pytest.raises(ModelError, match="mu is"):
        ProximalLoss(keras.losses.MeanSquaredError(), model, mu)


def test_errors_name_the_key_that_does_not_fit(model):
    params = get_params(model)
    del params["0/dense/kernel"]
    loss = ProximalLoss(keras.losses.MeanSquaredError(), model, MU)
    with pytest.raises(ModelError, match="params has no '0/dense/kernel'"):
        loss.start(FLModel(params=params))
    with pytest.raises(ModelError, match=r"shape \(2,\)"):
        loss.start(FLModel(params={**get_params(model), "0/dense/kernel": np.ones(2)}))
    with pytest.raises(ModelError, match=r"loss is 'mse'; give an object"):
        ProximalLoss("mse", model, MU)
