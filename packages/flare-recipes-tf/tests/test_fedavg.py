"""Keras's FedAvgRecipe: initial models, checkpoints, the params that scripts receive, and the result files."""

from __future__ import annotations

import textwrap

import keras
import numpy as np
import pytest
from keras import layers
from safetensors.numpy import load_file, save_file

from flare_core import ModelTypeError, RecipeError
from flare_recipes_tf import FedAvgRecipe, get_params, set_params
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file

# Keras 3.15 saves models in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ADD_SITE_NUMBER = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name()[-1])
    while flare.is_running():
        model = flare.receive()
        assert all(type(value) is np.ndarray and value.flags.writeable for value in model.params.values())
        flare.send(
            flare.FLModel(
                params={key: value + number for key, value in model.params.items()},
                metrics={"accuracy": 0.5},
                meta={"NUM_STEPS_CURRENT_ROUND": number},
            )
        )
"""

TRAIN = """
    import keras
    import numpy as np
    import flare_core.client as flare
    from flare_recipes_tf import get_params, set_params

    flare.init()
    number = int(flare.get_site_name()[-1])
    generator = np.random.default_rng(number)
    x = generator.normal(size=(40 * number, 3)).astype("float32")
    y = x @ np.ones((3, 1), "float32") + number
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    while flare.is_running():
        received = flare.receive()
        set_params(model, received.params)
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        params = get_params(model)
        np.savez(f"round-{received.current_round}.npz", **params)
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": len(y)}))
"""


def network(units: int = 4) -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(units),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(1),
        ]
    )


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.Model):
    def __init__(self, units: int = 2, **arguments):
        super().__init__(**arguments)
        self.units = units
        self.inner = layers.Dense(units)

    def build(self, input_shape):
        self.inner.build(input_shape)

    def call(self, x):
        return 2 * self.inner(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pytest.fixture
def script(tmp_path):
    return write_script(tmp_path, ADD_SITE_NUMBER)


def write_script(folder, text):
    path = folder / "client.py"
    path.write_text(textwrap.dedent(text))
    return path


def environment(folder, **arguments):
    return SimEnv(num_clients=2, workspace_root=folder / "runs", **arguments)


def recipe(script, **arguments) -> FedAvgRecipe:
    return FedAvgRecipe(**{"min_clients": 2, "num_rounds": 1, "train_script": script, **arguments})


def initial_params(made: FedAvgRecipe) -> dict:
    return read_file(made._initial_file)


def assert_equal(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value)


def test_the_recipe_copies_the_model_when_it_is_created(script):
    model = network()
    wanted = get_params(model)
    made = recipe(script, initial_model=model)
    model.layers[0].kernel.assign(np.zeros((3, 4)))
    assert_equal(initial_params(made), wanted)
    assert made._trainable == [key for key in wanted if "moving" not in key]


def test_a_model_can_be_given_by_class_path(script):
    path = {"class_path": "keras.applications.MobileNetV3Small", "args": {"weights": None, "input_shape": [32, 32, 3]}}
    assert len(initial_params(recipe(script, initial_model=path))) > 100


def test_the_weighted_mean_is_returned_and_saved_in_both_formats(script, tmp_path):
    model = network()
    before = get_params(model)
    run = recipe(script, initial_model=model).execute(environment(tmp_path))
    wanted = {key: value + np.float32(5 / 3) for key, value in before.items()}  # (1 * 1 + 2 * 2) / 3
    folder = run.get_result() / "server"
    kept = [load_file(folder / "global_model.safetensors"), dict(np.load(folder / "global_model.npz"))]
    for found in (run.load_model(), *kept):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, rtol=1e-6)
    assert (folder / "best_model.npz").is_file()
    model.set_weights(list(np.load(folder / "global_model.npz").values()))  # as the README says
    assert_equal(get_params(model), run.load_model())


@pytest.mark.slow
def test_training_averages_every_variable_by_the_number_of_examples(tmp_path):
    script = write_script(tmp_path, TRAIN)
    run = recipe(script, initial_model=network(), num_rounds=2).execute(environment(tmp_path))
    sites = [dict(np.load(run.get_result() / "sites" / site / "round-1.npz")) for site in ("site-1", "site-2")]
    found = run.load_model()
    for key, value in found.items():
        wanted = np.average([site[key].astype(np.float64) for site in sites], axis=0, weights=[40, 80])
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=1e-6)
    moving = "4/batch_normalization/moving_mean"
    assert np.abs(sites[0][moving] - sites[1][moving]).max() > 1e-3  # else any weights would give the same mean


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_the_model(tmp_path):
    script = write_script(tmp_path, TRAIN)
    models = []
    for workers in (2, 1):
        made = recipe(script, initial_model=network(), num_rounds=2, seed=3)
        models.append(
            made.execute(environment(tmp_path, num_threads=workers, share_processes=workers == 1)).load_model()
        )
    assert_equal(models[1], models[0])


def test_bfloat16_survives_a_round_trip_and_is_exported_as_float32(script, tmp_path):
    write_script(tmp_path, ADD_SITE_NUMBER.replace("value + number", "value"))
    model = keras.Sequential([keras.Input((3,), dtype="bfloat16"), layers.Dense(2, dtype="bfloat16")])
    run = recipe(script, initial_model=model).execute(environment(tmp_path))
    assert {str(value.dtype) for value in run.load_model().values()} == {"bfloat16"}
    assert_equal(run.load_model(), get_params(model))
    exported = dict(np.load(run.get_result() / "server" / "global_model.npz"))
    assert_equal(exported, {key: value.astype(np.float32) for key, value in get_params(model).items()})


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".safetensors"])
def test_a_run_can_start_from_a_checkpoint(script, tmp_path, suffix):
    path = tmp_path / f"start{suffix}"
    source, other = network(), network()
    set_params(source, {key: value + 1 for key, value in get_params(source).items()})
    before = get_params(other)
    if suffix == ".keras":
        source.save(path)
    elif suffix == ".weights.h5":
        source.save_weights(path)
    else:
        save_file(get_params(source), path)
    made = recipe(script, initial_ckpt=path, initial_model=other)
    assert_equal(initial_params(made), get_params(source))
    assert_equal(get_params(other), before)  # the user's model is unchanged
    with pytest.raises(RecipeError, match="does not fit initial_model"):
        recipe(script, initial_ckpt=path, initial_model=network(units=9))
    if suffix == ".weights.h5":
        with pytest.raises(RecipeError, match="also give the initial_model that they belong to"):
            recipe(script, initial_ckpt=path)
    else:
        alone = recipe(script, initial_ckpt=path)
        assert_equal(initial_params(alone), get_params(source))
        assert alone._trainable == made._trainable  # inferred from the names in a safetensors file


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_checkpoint_of_a_larger_model_is_refused_but_training_state_is_ignored(script, tmp_path, suffix):
    path = tmp_path / f"start{suffix}"
    larger = keras.Sequential([*network().layers, layers.Dense(1)])
    larger(np.ones((1, 3), np.float32))
    for model in (larger, network()):
        model.compile(optimizer="adam", loss="mse", metrics=["mae"])
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
        model.save(path) if suffix == ".keras" else model.save_weights(path)
        if model is larger:
            with pytest.raises(RecipeError, match="only the checkpoint has 'layers/dense_2/vars/0'"):
                recipe(script, initial_ckpt=path, initial_model=network())
    assert_equal(initial_params(recipe(script, initial_ckpt=path, initial_model=network())), get_params(model))


def test_a_saved_model_of_a_registered_custom_class_is_loaded(script, tmp_path):
    model = Doubled(3)
    model(np.ones((1, 2), np.float32))
    model.save(tmp_path / "own.keras")
    assert_equal(initial_params(recipe(script, initial_ckpt=tmp_path / "own.keras")), get_params(model))


def test_a_checkpoint_that_would_run_code_is_refused(script, tmp_path):
    path = tmp_path / "lambda.keras"
    keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Lambda(lambda x: x + 1)]).save(path)
    with pytest.raises(RecipeError, match="cannot be loaded as a model"):
        recipe(script, initial_ckpt=path)


def test_invalid_checkpoints_are_refused(script, tmp_path):
    for name, message in {
        "start.pt": "unknown file type",
        "start.keras": "cannot be loaded",
        "start.weights.h5": "does not fit",
    }.items():
        (tmp_path / name).write_bytes(b"nothing")
        model = None if name == "start.keras" else network()
        with pytest.raises(RecipeError, match=message):
            recipe(script, initial_ckpt=tmp_path / name, initial_model=model)
    with pytest.raises(RecipeError, match=r"initial_ckpt .*does not exist"):
        recipe(script, initial_ckpt=tmp_path / "missing.keras")
    save_file({"kernel": np.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(RecipeError, match="the key 'kernel'"):
        recipe(script, initial_ckpt=tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (np.ones(3), r"numpy\.ndarray, but"),
        (layers.Dense, "the class Dense itself"),
        (layers.Dense(2), r"takes a keras\.Model"),
        ("resnet", r"takes a keras\.Model"),
        ({}, r"takes a keras\.Model"),
        ({"class_path": "keras.Nothing"}, "initial_model"),
        (keras.Sequential([layers.Dense(2)]), r"initial_model: .*keras\.Input"),
    ],
)
def test_values_that_are_not_a_model_are_refused(script, model, message):
    with pytest.raises(RecipeError, match=message):
        recipe(script, initial_model=model)


def test_the_error_for_a_model_of_another_framework_names_its_package(script):
    with pytest.raises(ModelTypeError, match=r"flare[-_]recipes[-_]np"):  # to install, or whose recipe to use
        recipe(script, initial_model=np.ones(3))
