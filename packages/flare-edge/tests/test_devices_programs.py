"""Training programs on a device: gradients, order of examples, refusals, filters, and data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_edge.device.data import Examples, clusters, from_arrays, plane
from flare_edge.device.filters import clip_to_norm, filters_from, gaussian_noise
from flare_edge.device.programs import Dense, Hyperparameters, initial_params, program_from, training_from
from flare_edge.device.randomness import Mulberry32, generator_for
from flare_edge.errors import EdgeError

MLP = {"kind": "mlp", "layers": [4, 6, 3], "activation": "relu"}


def loss_of(program: Dense, params, examples) -> float:
    """The loss in float64, written down again: the oracle of the gradients."""
    values = examples.inputs.astype(np.float64)
    for layer, (weight, bias) in enumerate(program.names):
        values = values @ params[weight].T + params[bias]
        if layer < len(program.names) - 1:
            values = np.where(values > 0, values, 0) if program.activation == "relu" else np.tanh(values)
    if program.loss == "squared_error":
        return float(np.mean((values - examples.targets) ** 2))
    chosen = values[np.arange(len(values)), examples.targets]
    return float(np.mean(np.log(np.sum(np.exp(values), axis=1)) - chosen))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_a_step_follows_the_gradient_that_finite_differences_give(activation, loss):
    program = Dense((4, 6, 5, 3), activation, loss)
    make = clusters if loss == "cross_entropy" else plane
    extent = {"classes": 3} if loss == "cross_entropy" else {"outputs": 3}
    examples = make(20, inputs=4, seed=1, **extent)
    params = program.initial_params(2)
    trained = program.train(params, examples, Hyperparameters(lr=1.0, batch_size=20), version=0)
    exact = {name: value.astype(np.float64) for name, value in params.items()}
    for name, value in exact.items():
        for place in np.ndindex(value.shape):
            kept = value[place]
            around = []
            for change in (1e-6, -1e-6):
                value[place] = kept + change
                around.append(loss_of(program, exact, examples))
            value[place] = kept
            slope = (around[0] - around[1]) / 2e-6
            assert params[name][place] - trained[name][place] == pytest.approx(slope, abs=2e-6)


def test_training_leaves_the_received_parameters_as_they_were():
    program = program_from({"program": MLP})
    params = program.initial_params(0)
    before = {name: value.copy() for name, value in params.items()}
    program.train(params, clusters(30, inputs=4, classes=3, seed=0), Hyperparameters(lr=0.5), version=1)
    assert all(np.array_equal(params[name], before[name]) for name in before)


def test_a_classifier_learns_clusters():
    program = program_from({"program": MLP})
    examples = clusters(200, inputs=4, classes=3, seed=0)
    how = Hyperparameters(lr=0.2, epochs=20, batch_size=16)
    trained = program.train(program.initial_params(0), examples, how, version=1)
    assert program.evaluate(trained, clusters(200, inputs=4, classes=3, seed=1))["accuracy"] > 0.9


def test_a_linear_regression_finds_the_least_squares_solution():
    program = program_from({"program": {"kind": "linear", "inputs": 3}})
    examples = plane(300, inputs=3, seed=0, noise=0.05)
    how = Hyperparameters(lr=0.1, epochs=40, batch_size=300)
    trained = program.train(program.initial_params(0), examples, how, version=0)
    rows = np.column_stack([examples.inputs, np.ones(300)])
    solution = np.linalg.lstsq(rows, examples.targets, rcond=None)[0].ravel()
    assert set(trained) == {"weight", "bias"}
    np.testing.assert_allclose(np.append(trained["weight"].ravel(), trained["bias"]), solution, atol=0.01)


def test_metrics_are_of_the_model_that_was_given():
    program = program_from({"program": MLP})
    examples = clusters(50, inputs=4, classes=3, seed=0)
    params = program.initial_params(3)
    measured = program.evaluate(params, examples)
    assert measured["loss"] == pytest.approx(loss_of(program, params, examples), abs=1e-6)
    assert 0 <= measured["accuracy"] <= 1


def test_the_generator_gives_the_published_numbers():
    """The first outputs of the reference implementation in C for the seed 1, as JavaScript computes them, too."""
    generator = Mulberry32(1)
    assert [generator.integer() for _ in range(4)] == [2693262067, 11749833, 2265367787, 4213581821]


@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.integers(0, 10**6))
def test_an_order_is_a_permutation_and_the_same_each_time(seed, count, version):
    first = generator_for(seed, version).permutation(count)
    assert sorted(first) == list(range(count))
    assert list(first) == list(generator_for(seed, version).permutation(count))


def test_every_row_is_equally_likely_to_come_first():
    first = np.bincount([generator_for(7, version).permutation(5)[0] for version in range(5000)], minlength=5)
    assert first.min() > 900
    assert first.max() < 1100


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ({"kind": "forest"}, "unknown program 'forest'"),
        ({"kind": "mlp", "layers": [4]}, "at least 2"),
        ({"kind": "mlp", "layers": [4, 0, 2]}, "positive"),
        ({"kind": "mlp", "layers": [4, 2], "activation": "gelu"}, "unknown activation 'gelu'"),
        ({"kind": "mlp", "layers": [4, 2], "loss": "hinge"}, "unknown loss 'hinge'"),
        ({"kind": "linear"}, "positive"),
        (None, "has no program"),
    ],
)
def test_a_program_that_does_not_exist_is_refused(program, said):
    with pytest.raises(EdgeError, match=said):
        program_from({"program": program})


@pytest.mark.parametrize(
    "config", [{}, {"lr": 0}, {"lr": float("nan")}, {"lr": 1, "epochs": 0}, {"lr": 1, "batch_size": 2.5},
               {"lr": 1, "seed": -1}],
)  # fmt: skip
def test_hyperparameters_out_of_range_are_refused(config):
    with pytest.raises(EdgeError, match="must be a"):
        training_from(config)


def test_a_model_of_another_program_is_refused_by_name():
    program = program_from({"program": MLP})
    examples = clusters(5, inputs=4, classes=3, seed=0)
    with pytest.raises(EdgeError, match=r"'0.weight' has the shape \(7, 4\)"):
        program.evaluate(program.initial_params(0) | {"0.weight": np.zeros((7, 4), np.float32)}, examples)
    with pytest.raises(EdgeError, match="the model has the parameters"):
        program.evaluate({}, examples)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (from_arrays(np.zeros((2, 5)), np.array([0, 1])), "have 5 inputs"),
        (from_arrays(np.zeros((2, 4)), np.array([0, 3])), "classes are 0 to 2; the examples have 3"),
        (from_arrays(np.zeros((2, 4)), np.array([0, -1])), "have -1"),
        (from_arrays(np.zeros((2, 4)), np.array([0.5, 1.0])), "the targets are values"),
    ],
)
def test_examples_that_do_not_fit_the_program_are_refused(examples, said):
    program = program_from({"program": MLP})
    with pytest.raises(EdgeError, match=said):
        program.evaluate(program.initial_params(0), examples)


def test_examples_that_are_not_finite_are_refused_with_their_row():
    with pytest.raises(EdgeError, match="row 2"):
        from_arrays(np.array([[1.0], [np.inf]]), np.array([0, 1]))
    with pytest.raises(EdgeError, match="not on 0"):
        Examples(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))


def test_initial_parameters_depend_on_the_seed_alone():
    first, again, other = (initial_params(MLP, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["0.weight"], other["0.weight"])
    assert {value.dtype for value in first.values()} == {np.dtype(np.float32)}
    assert np.abs(first["0.weight"]).max() <= 0.5


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.floats(0.1, 100))
def test_clipping_bounds_the_norm_over_all_parameters_and_keeps_the_direction(values, norm):
    half = len(values) // 2
    update = {"a": np.array(values[:half], np.float64), "b": np.array(values[half:], np.float64)}
    clipped = np.concatenate([clip_to_norm(norm)(update)[name] for name in ("a", "b")])
    assert np.linalg.norm(clipped) <= norm
    length = max(np.linalg.norm(values), 1e-300)
    np.testing.assert_allclose(clipped, np.array(values) * min(1.0, norm / length), rtol=2e-6, atol=1e-9)


def test_noise_has_its_standard_deviation_and_keeps_dtypes():
    update = {"w": np.zeros((100, 100), np.float32)}
    noisy = gaussian_noise(0.5, np.random.default_rng(0))(update)["w"]
    assert noisy.dtype == np.float32
    assert noisy.std() == pytest.approx(0.5, rel=0.03)
    assert not np.array_equal(gaussian_noise(0.5)(update)["w"], gaussian_noise(0.5)(update)["w"])


def test_filters_that_a_configuration_names_are_made_and_others_refused():
    clip, noise = filters_from({"filters": [{"kind": "clip", "norm": 1.0}, {"kind": "noise", "stddev": 0.0}]})
    assert np.linalg.norm(noise(clip({"w": np.full(4, 3.0, np.float32)}))["w"]) == pytest.approx(1.0, rel=2e-6)
    with pytest.raises(EdgeError, match="unknown filter 'sign'"):
        filters_from({"filters": [{"kind": "sign"}]})
