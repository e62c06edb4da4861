"""Server optimizers compared step by step with Keras, and BatchNormalization under FedOpt and SCAFFOLD."""

from __future__ import annotations

import textwrap

import keras
import numpy as np
import pytest

from flare_core import FLModel, RecipeError, Reply
from flare_core.optimizers import SGD, Adam
from flare_core.workflows import FedAvg, FedOpt
from flare_recipes_tf import FedAvgRecipe, FedOptRecipe, ScaffoldRecipe, get_params
from flare_recipes_tf.optimizer import KerasOptimizer
from flare_runtime import SimEnv

PAIRS = [
    (SGD(0.5), "SGD", {"learning_rate": 0.5}),
    (SGD(0.5, momentum=0.5), "SGD", {"learning_rate": 0.5, "momentum": 0.5}),
    (Adam(0.1, (0.8, 0.95), 0.0), "Adam", {"learning_rate": 0.1, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 0.0}),
]


def rounds(count=6):
    generator = np.random.default_rng(0)
    return [{"a": generator.normal(size=(3, 2)), "b": generator.normal(size=4)} for _ in range(count)]


def keras_steps(name, arguments, start, gradients):
    variables = {key: keras.Variable(value, dtype="float64") for key, value in start.items()}
    optimizer = getattr(keras.optimizers, name)(**arguments)
    for gradient in gradients:
        optimizer.apply([gradient[key] for key in variables], list(variables.values()))
        yield {key: variable.numpy().copy() for key, variable in variables.items()}


@pytest.mark.parametrize(("ours", "name", "arguments"), PAIRS)
def test_every_step_matches_keras(ours, name, arguments):
    start, *gradients = rounds()
    params = start
    for expected, gradient in zip(keras_steps(name, arguments, start, gradients), gradients, strict=True):
        params = ours.step(params, gradient)
        for key in params:
            np.testing.assert_allclose(params[key], expected[key], rtol=1e-5)  # Keras keeps its rates in float32


@pytest.mark.parametrize(("name", "arguments"), [("AdamW", {"learning_rate": 0.1}), ("RMSprop", {})])
def test_any_keras_optimizer_can_run_at_the_server_and_resume(name, arguments):
    start, *gradients = rounds()
    whole, params = KerasOptimizer(f"keras.optimizers.{name}", arguments), start
    expected = list(keras_steps(name, arguments, start, gradients))
    for step, gradient in enumerate(gradients[:3]):
        params = whole.step(params, gradient)
        np.testing.assert_allclose(params["a"], expected[step]["a"], rtol=1e-12)
    second, other = KerasOptimizer(f"keras.optimizers.{name}", arguments), params
    second.restore(whole.state())
    for step, gradient in enumerate(gradients[3:], 3):
        other = second.step(other, gradient)
        np.testing.assert_allclose(other["b"], expected[step]["b"], rtol=1e-12)


def network():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )


def test_untrained_variables_are_averaged():
    start = get_params(network())
    generator = np.random.default_rng(1)
    sites = [
        {key: value + generator.normal(size=value.shape).astype(value.dtype) for key, value in start.items()}
        for _ in "ab"
    ]

    def next_model(workflow):
        for number, params in enumerate(sites, 1):
            workflow.aggregator.add(Reply(f"site-{number}", "train", FLModel(params=params), 0))
        return workflow._updated(FLModel(params=start), 0).params

    common = {"min_clients": 2, "num_rounds": 1}
    trainable = [key for key in start if "moving" not in key]
    plain = next_model(FedAvg(**common))
    stepped = next_model(FedOpt(optimizer=SGD(1.0), trainable=trainable, **common))
    for key in start:
        np.testing.assert_allclose(stepped[key], plain[key], rtol=1e-5, atol=1e-6)
    doubled = next_model(FedOpt(optimizer=SGD(2.0), trainable=trainable, **common))
    for key in start:
        expected = start[key] + (1 if "moving" in key else 2) * (plain[key] - start[key])
        np.testing.assert_allclose(doubled[key], expected, rtol=1e-5, atol=1e-6)


SCRIPT = """
    import sys
    import keras, numpy as np, tensorflow as tf
    import flare_core.client as flare
    from flare_recipes_tf import Scaffold, get_params, set_params

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    layers = keras.layers
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(1)])
    generator = np.random.default_rng(number)
    x = generator.normal(number, 1, size=(20, 3)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) * number).astype("float32")
    optimizer = keras.optimizers.SGD(0.01)
    scaffold = Scaffold(model) if "scaffold" in sys.argv else None
    while flare.is_running():
        received = flare.receive()
        set_params(model, received.params)
        if scaffold:
            scaffold.start(received)
        for _ in range(3):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x, training=True) - y) ** 2)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply(scaffold.correct(gradients) if scaffold else gradients, model.trainable_variables)
        controls = scaffold.finish(3, 0.01) if scaffold else None
        flare.send(flare.FLModel(params=get_params(model), optimizer_params=controls))
"""


@pytest.mark.timeout(180)
def test_fedopt_and_scaffold_train_a_network_with_batch_normalization(tmp_path):
    (tmp_path / "client.py").write_text(textwrap.dedent(SCRIPT))

    def model_of(recipe, **arguments):
        made = recipe(
            min_clients=2, num_rounds=2, initial_model=network(), train_script=tmp_path / "client.py", key_metric=None,
            **arguments,
        )  # fmt: skip
        return made.execute(SimEnv(num_clients=2, workspace_root=tmp_path / "runs")).load_model()

    averaged = model_of(FedAvgRecipe)
    stepped = model_of(
        FedOptRecipe, optimizer_args={"class_path": "keras.optimizers.SGD", "args": {"learning_rate": 1.0}}
    )
    corrected = model_of(ScaffoldRecipe, train_args="scaffold")
    assert list(averaged) == list(stepped) == list(corrected)
    for key, value in averaged.items():
        np.testing.assert_allclose(stepped[key], value, rtol=1e-4, atol=1e-5)
    changed = [key for key, value in averaged.items() if not np.array_equal(corrected[key], value)]
    assert any("kernel" in key for key in changed)  # control variates take effect from the second round on


def test_a_class_that_is_not_an_optimizer_is_refused(tmp_path):
    (tmp_path / "client.py").touch()
    with pytest.raises(RecipeError, match=r"keras\.layers\.Dense, which flare_recipes_tf\.FedOptRecipe cannot use"):
        FedOptRecipe(
            min_clients=2, initial_model=network(), train_script=tmp_path / "client.py",
            optimizer_args={"class_path": "keras.layers.Dense"},
        )  # fmt: skip
