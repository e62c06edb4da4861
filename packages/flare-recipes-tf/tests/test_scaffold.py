"""SCAFFOLD's client side compared with a plain NumPy version on quadratics, and its file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from flare_core import ClientApiError, FLModel, ModelError, ShapeMismatchError
from flare_recipes_tf import Scaffold, get_params, set_params

RATE, STEPS, ROUNDS = 0.1, 5, 40
KEY = "0/point/position"


class Point(keras.layers.Layer):
    """A layer with one variable; each site's loss has a different minimum."""

    def build(self, shape):
        self.position = self.add_weight(shape=(2,), name="position", initializer="zeros")

    def call(self, x):
        return x + self.position


def point() -> keras.Model:
    return keras.Sequential([keras.Input((2,)), Point()])


class Quadratic:
    """The loss f_i(w) = (w - m)' A (w - m) / 2, whose gradient is A (w - m)."""

    def __init__(self, curvature, minimum):
        self.curvature = np.diag(np.float32(curvature))
        self.minimum = np.float32(minimum)

    def gradient(self, w):
        return self.curvature @ (w - self.minimum)


SITES = [Quadratic([1.0, 4.0], [1.0, 1.0]), Quadratic([3.0, 0.5], [-2.0, 0.0])]


def optimum() -> np.ndarray:
    total = sum(site.curvature for site in SITES)
    return np.linalg.solve(total, sum(site.curvature @ site.minimum for site in SITES))


def plain_scaffold(rounds: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Run the paper's algorithm 1 with option II, all sites in every round and a global step size of 1."""
    x, c, own = np.zeros(2), np.zeros(2), [np.zeros(2) for _ in SITES]
    for _ in range(rounds):
        moves, changes = [], []
        for index, site in enumerate(SITES):
            y = x.copy()
            for _ in range(STEPS):
                y = y - RATE * (site.gradient(y) - own[index] + c)
            after = own[index] - c + (x - y) / (STEPS * RATE)
            moves.append(y - x)
            changes.append(after - own[index])
            own[index] = after
        x, c = x + np.mean(moves, axis=0), c + np.mean(changes, axis=0)
    return x, c, own


def one_round(model, scaffold, site, x, c, round_):
    """Carry out one task like a script; return its model and its control difference."""
    received = FLModel(params={KEY: x}, optimizer_params=c, current_round=round_)
    set_params(model, received.params)
    scaffold.start(received)
    optimizer = keras.optimizers.SGD(RATE)
    for _ in range(STEPS):
        gradient = tf.convert_to_tensor(site.gradient(get_params(model)[KEY]))
        optimizer.apply(scaffold.correct([gradient]), model.trainable_variables)
    return get_params(model)[KEY], scaffold.finish(STEPS, RATE)[KEY]


def run_federation(folder, *, rounds: int, restart: bool = False):
    """Run the helpers with a three-line server; with ``restart``, scripts restart in each round."""
    x, c = np.zeros(2, np.float32), None
    folders = [folder / str(index) for index in range(len(SITES))]
    for each in folders:
        each.mkdir()
    models = [point() for _ in SITES]
    scaffolds = [Scaffold(model, folder=each) for model, each in zip(models, folders, strict=True)]
    for round_ in range(rounds):
        if restart:
            models = [point() for _ in SITES]
            scaffolds = [Scaffold(model, folder=each) for model, each in zip(models, folders, strict=True)]
        answers = [one_round(*each, x, c, round_) for each in zip(models, scaffolds, SITES, strict=True)]
        x = np.mean([answer[0] for answer in answers], axis=0)
        c = {KEY: (c[KEY] if c else 0) + np.mean([answer[1] for answer in answers], axis=0)}
    return x, c[KEY]


def fedavg(rounds: int) -> np.ndarray:
    x = np.zeros(2)
    for _ in range(rounds):
        ends = []
        for site in SITES:
            y = x.copy()
            for _ in range(STEPS):
                y = y - RATE * site.gradient(y)
            ends.append(y)
        x = np.mean(ends, axis=0)
    return x


@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("restart", [False, True])
def test_rounds_match_the_paper(tmp_path, rounds, restart):
    x, c = run_federation(tmp_path, rounds=rounds, restart=restart)
    wanted_x, wanted_c, _ = plain_scaffold(rounds)
    np.testing.assert_allclose(x, wanted_x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(c, wanted_c, rtol=1e-4, atol=1e-5)


def test_it_reaches_the_optimum_where_plain_averaging_does_not(tmp_path):
    x, _ = run_federation(tmp_path, rounds=ROUNDS)
    np.testing.assert_allclose(x, optimum(), atol=1e-4)
    assert np.abs(fedavg(ROUNDS) - optimum()).max() > 0.05


def test_a_repeated_round_starts_from_the_same_control_variate(tmp_path):
    model, c = point(), {KEY: np.float32([0.2, -0.1])}
    scaffold = Scaffold(model, folder=tmp_path)
    one_round(model, scaffold, SITES[0], np.float32([0.0, 0.0]), None, 0)
    first = one_round(model, scaffold, SITES[0], np.float32([1.0, 2.0]), c, 1)
    for helper in (scaffold, Scaffold(model, folder=tmp_path)):  # the same script, and a restarted one
        again = one_round(model, helper, SITES[0], np.float32([1.0, 2.0]), c, 1)
        for value, wanted in zip(again, first, strict=True):
            np.testing.assert_array_equal(value, wanted)
    third = one_round(model, Scaffold(model, folder=tmp_path), SITES[0], np.float32([1.0, 2.0]), c, 2)
    assert not np.array_equal(third[1], first[1])


def test_rounds_whose_replies_were_not_used_are_undone(tmp_path):
    model, x = point(), np.float32([1.0, 2.0])
    one_round(model, Scaffold(model, folder=tmp_path), SITES[0], x, None, 0)
    used = Scaffold(model, folder=tmp_path)._load_own(FLModel(params={KEY: x}, current_round=1))
    for round_ in (1, 2):  # both too late
        unused = {} if round_ == 1 else {"not_used_since": 1}
        scaffold = Scaffold(model, folder=tmp_path)
        scaffold.start(FLModel(params={KEY: x}, current_round=round_, meta=unused))
        for _ in range(STEPS):
            scaffold.correct([tf.zeros(2)])
        scaffold.finish(STEPS, RATE)
    received = FLModel(params={KEY: x}, current_round=3, meta={"not_used_since": 1})
    np.testing.assert_array_equal(Scaffold(model, folder=tmp_path)._load_own(received)[KEY], used[KEY])


def test_an_unfinished_round_writes_no_file(tmp_path):
    model = point()
    scaffold = Scaffold(model, folder=tmp_path)
    scaffold.start(FLModel(params={KEY: np.ones(2)}, current_round=0))
    scaffold.correct([tf.ones(2)])
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_another_run_is_refused(tmp_path):
    model = point()
    one_round(model, Scaffold(model, folder=tmp_path), SITES[0], np.ones(2, np.float32), None, 5)
    with pytest.raises(ModelError, match=r"scaffold\.safetensors is of round 5, but round 0 begins"):
        Scaffold(model, folder=tmp_path).start(FLModel(params={KEY: np.ones(2)}, current_round=0))


def test_the_file_is_in_the_working_folder_at_creation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = point()
    scaffold = Scaffold(model)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    one_round(model, scaffold, SITES[0], np.ones(2, np.float32), None, 0)
    assert (tmp_path / "scaffold.safetensors").is_file()


def test_a_compiled_function_uses_the_corrections_of_the_current_round(tmp_path):
    model = point()
    scaffold = Scaffold(model, folder=tmp_path)
    compiled = tf.function(lambda gradient: scaffold.correct([gradient])[0])
    for round_, c in enumerate(([1.0, 2.0], [3.0, -1.0])):
        received = FLModel(params={KEY: np.zeros(2)}, optimizer_params={KEY: np.float32(c)}, current_round=round_)
        scaffold.start(received)
        np.testing.assert_allclose(compiled(tf.ones(2)), 1 + np.float32(c))


def test_sparse_and_missing_gradients_are_corrected(tmp_path):
    model = keras.Sequential([keras.Input((2,), dtype="int32"), layers.Embedding(4, 2), layers.Dense(1)])
    scaffold = Scaffold(model, folder=tmp_path)
    trained = get_params(model)
    c = {key: np.full(value.shape, 0.5, np.float32) for key, value in trained.items()}
    scaffold.start(FLModel(params=trained, optimizer_params=c, current_round=0))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.layers[0](np.array([[1, 1]])))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert isinstance(gradients[0], tf.IndexedSlices)
    corrected = scaffold.correct(gradients)
    np.testing.assert_array_equal(corrected[0], [[0.5, 0.5], [2.5, 2.5], [0.5, 0.5], [0.5, 0.5]])
    for gradient, value in zip(corrected[1:], model.trainable_variables[1:], strict=True):
        np.testing.assert_array_equal(gradient, np.full(value.shape, 0.5))  # zero plus the correction


def test_a_variable_that_the_loss_does_not_depend_on_has_zero_gradients(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False), layers.Dense(1, use_bias=False)])
    scaffold = Scaffold(model, folder=tmp_path)
    start = get_params(model)
    c = {key: np.full(value.shape, 0.5, np.float32) for key, value in start.items()}
    optimizer = keras.optimizers.SGD(0.1)
    scaffold.start(FLModel(params=start, optimizer_params=c, current_round=0))
    for _ in range(3):
        gradients = [tf.ones_like(model.trainable_variables[0]), None]
        optimizer.apply(scaffold.correct(gradients), model.trainable_variables)
    difference = scaffold.finish(3, 0.1)  # from zero to the mean uncorrected gradient
    np.testing.assert_allclose(difference["0/dense/kernel"], np.ones((2, 1)), atol=1e-5)
    np.testing.assert_allclose(difference["1/dense/kernel"], np.zeros((1, 1)), atol=1e-5)


def test_a_round_with_missing_or_extra_corrections_is_refused(tmp_path):
    scaffold = Scaffold(point(), folder=tmp_path)
    compiled = tf.function(lambda gradient: scaffold.correct([gradient])[0])
    for calls in (0, 2, 8):  # never, in some steps only, and for each accumulated gradient
        scaffold.start(FLModel(params={KEY: np.zeros(2)}, current_round=0))
        for _ in range(calls):
            compiled(tf.ones(2))
        with pytest.raises(ClientApiError, match=rf"correct\(\) was called {calls} times for 4 steps"):
            scaffold.finish(4, 0.1)


def test_only_trainable_variables_have_control_variates(tmp_path):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2), layers.BatchNormalization()])
    scaffold = Scaffold(model, folder=tmp_path)
    scaffold.start(FLModel(params=get_params(model), current_round=0))
    scaffold.correct([None] * 4)
    difference = scaffold.finish(1, 0.1)
    assert list(difference) == [key for key in get_params(model) if "moving" not in key]
    assert {value.dtype for value in difference.values()} == {np.dtype(np.float32)}


def test_misuse_is_refused(tmp_path):
    scaffold = Scaffold(point(), folder=tmp_path)
    good = {KEY: np.zeros(2)}
    with pytest.raises(ClientApiError, match=r"correct\(\) outside a round"):
        scaffold.correct([tf.ones(2)])
    with pytest.raises(ClientApiError, match=r"finish\(\) outside a round"):
        scaffold.finish(1, 0.1)
    with pytest.raises(ModelError, match="its params and its round"):
        scaffold.start(FLModel(params=good))
    with pytest.raises(ModelError, match="params has no '0/point/position'"):
        scaffold.start(FLModel(params={"other": np.ones(2)}, current_round=0))
    with pytest.raises(ModelError, match="optimizer_params has no '0/point/position'"):
        scaffold.start(FLModel(params=good, optimizer_params={"other": np.ones(2)}, current_round=0))
    with pytest.raises(ShapeMismatchError, match=r"shape \(3,\) in optimizer_params but \(2,\) in this model"):
        scaffold.start(FLModel(params=good, optimizer_params={KEY: np.ones(3)}, current_round=0))
    scaffold.start(FLModel(params=good, current_round=0))
    with pytest.raises(ModelError, match="2 gradients were given for 1 variables"):
        scaffold.correct([tf.ones(2), tf.ones(2)])
    for steps, rate, name in ((0, 0.1, "steps"), (True, 0.1, "steps"), (1, 0.0, "learning_rate"), (1, "a", "learning")):
        with pytest.raises(ModelError, match=f"{name}.* is "):
            scaffold.finish(steps, rate)
    scaffold.correct([tf.ones(2)])
    scaffold.finish(1, 0.1)
    with pytest.raises(ClientApiError, match=r"finish\(\) outside a round"):
        scaffold.finish(1, 0.1)
