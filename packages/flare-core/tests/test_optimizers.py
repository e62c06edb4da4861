"""Server optimizers against their formulas; the recipes' tests compare them with those of torch."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from flare_core import RecipeError
from flare_core.optimizers import SGD, Adagrad, Adam, Yogi, framework_optimizer

GRADIENTS = [0.5, -2.0, 0.25, 3.0]
EVERY = [SGD, lambda: SGD(0.5, 0.9), Adam, Yogi, Adagrad]


def path_of(optimizer, start=1.0, **options):
    """Return the value of a single parameter after steps with the given gradients."""
    params = {"w": np.array([start])}
    for gradient in GRADIENTS:
        params = optimizer.step(params, {"w": np.array([gradient])}, **options)
        yield params["w"].item()


def sgd(lr, momentum=0.0, nesterov=False):
    value, velocity = 1.0, 0.0
    for gradient in GRADIENTS:
        velocity = momentum * velocity + gradient
        value -= lr * (gradient + momentum * velocity if nesterov else velocity)
        yield value


def adam(lr=0.01, first=0.9, second=0.99, eps=1e-3):
    value = mean = square = 0.0
    value = 1.0
    for step, gradient in enumerate(GRADIENTS, 1):
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        value -= lr * mean / (1 - first**step) / (math.sqrt(square / (1 - second**step)) + eps)
        yield value


def yogi(lr=0.01, first=0.9, second=0.99, eps=1e-3):
    value, mean, square = 1.0, 0.0, eps**2
    for gradient in GRADIENTS:
        mean = first * mean + (1 - first) * gradient
        square -= (1 - second) * math.copysign(gradient**2, square - gradient**2)
        value -= lr * mean / (math.sqrt(square) + eps)
        yield value


def adagrad(lr=0.01, eps=1e-3):
    value, total = 1.0, 0.0
    for gradient in GRADIENTS:
        total += gradient**2
        value -= lr * gradient / (math.sqrt(total) + eps)
        yield value


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (SGD, sgd(1.0)),
        (lambda: SGD(0.25), sgd(0.25)),
        (lambda: SGD(0.25, 0.9), sgd(0.25, 0.9)),
        (lambda: SGD(0.25, 0.9, True), sgd(0.25, 0.9, True)),
        (Adam, adam()),
        (lambda: Adam(0.5, (0.5, 0.75), 0.125), adam(0.5, 0.5, 0.75, 0.125)),
        (Yogi, yogi()),
        (lambda: Yogi(0.5, (0.5, 0.75), 0.125), yogi(0.5, 0.5, 0.75, 0.125)),
        (Adagrad, adagrad()),
        (lambda: Adagrad(0.5, 0.125), adagrad(0.5, 0.125)),
    ],
)
def test_each_step_follows_the_formula(make, expected):
    assert [*path_of(make())] == pytest.approx([*expected], rel=1e-12)


def test_the_scale_is_a_factor_on_the_learning_rate():
    assert [*path_of(SGD(0.5), scale=0.25)] == pytest.approx([*sgd(0.125)])


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_and_shape_stay_and_no_argument_is_changed(make, dtype):
    optimizer, params, gradients = make(), {"w": np.ones((2, 3), dtype)}, {"w": np.full((2, 3), 0.5, dtype)}
    for _ in range(2):
        after = optimizer.step(params, gradients)["w"]
    assert (after.dtype, after.shape) == (np.dtype(dtype), (2, 3))
    assert np.all(after < 1)
    assert np.all(params["w"] == 1)
    assert np.all(gradients["w"] == 0.5)


def test_half_precision_parameters_are_updated_in_single_precision():
    gradient = np.array([300.0], np.float16)  # its square exceeds the range of half precision
    after = Adagrad(1.0, 0).step({"w": np.ones(1, np.float16)}, {"w": gradient})["w"]
    assert after.tolist() == [0.0]  # the first step of Adagrad is the learning rate


def test_double_precision_parameters_are_updated_in_double_precision():
    value = SGD(0.1).step({"w": np.array([1.0])}, {"w": np.array([1.0 + 2.0**-40])})["w"].item()
    assert value == pytest.approx(float(Fraction(1) - Fraction(0.1) * (1 + Fraction(1, 2**40))), rel=1e-15)


@pytest.mark.parametrize("make", EVERY)
def test_a_restored_optimizer_continues(make):
    whole = [*path_of(make())]
    params = {"w": np.array([1.0])}
    optimizer = make()
    for gradient in GRADIENTS:
        params = optimizer.step(params, {"w": np.array([gradient])})
        state, optimizer = optimizer.state(), make()
        optimizer.restore(state)
    assert params["w"].item() == whole[-1]


def test_nested_keys_have_state_of_their_own():
    params = {("layer", "w"): np.zeros(1), "w": np.zeros(1)}
    optimizer = SGD(1.0, 0.5)
    optimizer.step(params, {("layer", "w"): np.ones(1), "w": np.full(1, 2.0)})
    state = optimizer.state()
    assert (state["steps"], state["momentum"]["w"].tolist()) == (1, [2.0])
    assert state["momentum"]["layer"]["w"].tolist() == [1.0]
    other = SGD(1.0, 0.5)
    other.restore(state)
    after = other.step(params, {("layer", "w"): np.zeros(1), "w": np.zeros(1)})
    assert (after["layer", "w"].tolist(), after["w"].tolist()) == ([-0.5], [-1.0])


def test_an_empty_state_is_that_of_a_new_optimizer():
    optimizer = Adam()
    optimizer.step({"w": np.ones(1)}, {"w": np.ones(1)})
    optimizer.restore({})
    assert [*path_of(optimizer)] == pytest.approx([*adam()])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SGD(-0.1), r"^lr of .* is -0.1; give a number of at least 0$"),
        (lambda: SGD(True), r"^lr of .* is True; give a number of at least 0$"),
        (lambda: SGD(math.inf), r"^lr of .* is inf; give a number of at least 0$"),
        (lambda: SGD(math.nan), r"^lr of .* is nan; give a number of at least 0$"),
        (lambda: SGD("fast"), r"^lr of .* is 'fast'; give a number of at least 0$"),
        (lambda: SGD(1, 1.0), r"^momentum of .* is 1.0; give a number from 0 to below 1$"),
        (lambda: SGD(1, -0.5), r"^momentum of .* is -0.5; give a number from 0 to below 1$"),
        (lambda: Adam(1, (1.0, 0.5)), r"^betas of .* is 1.0; give a number from 0 to below 1$"),
        (lambda: Adam(1, (0.5, 1)), r"^betas of .* is 1; give a number from 0 to below 1$"),
        (lambda: Adam(1, (-0.5, 0.5)), r"^betas of .* is -0.5; give a number from 0 to below 1$"),
        (lambda: Adam(1, (0.5, -0.5)), r"^betas of .* is -0.5; give a number from 0 to below 1$"),
        (lambda: Adam(1, 0.5), r"^betas of .* is 0.5; give two numbers"),
        (lambda: Adam(1, (0.5, 0.5, 0.5)), r"^betas of .* is \(0.5, 0.5, 0.5\); give two numbers"),
        (lambda: Yogi(eps=-1), r"^eps of .* is -1; give a number of at least 0$"),
        (lambda: Adagrad(eps=-1), r"^eps of .* is -1; give a number of at least 0$"),
    ],
)
def test_invalid_hyperparameters_are_rejected_by_name(make, named):
    with pytest.raises(RecipeError, match=named):
        make()


def test_the_smallest_valid_hyperparameters_are_accepted():
    assert [*path_of(SGD(0))] == [1.0] * 4
    assert [*path_of(Adam(0.5, (0, 0), 0))] == pytest.approx([*adam(0.5, 0, 0, 0)])
    assert [*path_of(Adagrad(0.5, 0))] == pytest.approx([*adagrad(0.5, 0)])


def test_a_framework_optimizer_gets_params_and_arguments():
    fraction = framework_optimizer("fractions.Fraction", Fraction, {"denominator": 4}, 3)
    assert fraction == Fraction(3, 4)


def test_the_error_for_rejected_arguments_names_class_and_arguments():
    with pytest.raises(RecipeError, match=r"fractions.Fraction rejects the arguments \{'lr': 1\}: .*lr"):
        framework_optimizer("fractions.Fraction", Fraction, {"lr": 1})
    with pytest.raises(RecipeError, match=r"fractions.Fraction rejects the arguments \{\}: .*'x'"):
        framework_optimizer("fractions.Fraction", Fraction, {}, "x")
    with pytest.raises(RecipeError, match=r"fractions.Fraction is not a builtins.dict"):
        framework_optimizer("fractions.Fraction", dict, {})
