"""NumPy's FedAvgRecipe: initial models, checkpoints and exported jobs."""

from __future__ import annotations

import gc
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from flare_core import ModelTypeError, RecipeError
from flare_core.job_folder import load_job
from flare_core.model import flatten
from flare_recipes_np import FedAvgRecipe
from flare_recipes_np.model import NUMPY_KEY
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file, write_file

ECHO = """
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        flare.send(flare.FLModel(params=flare.receive().params, metrics={"accuracy": 0.5}))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "client.py"
    path.write_text(textwrap.dedent(ECHO))
    return path


def recipe(script, **arguments) -> FedAvgRecipe:
    return FedAvgRecipe(**{"min_clients": 2, "num_rounds": 1, "train_script": script, **arguments})


ARRAYS = np_st.arrays(np.float64, np_st.array_shapes(), elements=st.floats(-1e100, 1e100))


def initial_params(made: FedAvgRecipe) -> dict:
    return read_file(made._initial_file)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (np.arange(3), {NUMPY_KEY: np.arange(3)}),
        ([[1, 2], [3, 4]], {NUMPY_KEY: np.array([[1.0, 2.0], [3.0, 4.0]])}),
        ({"w": [1, 2], "b": 0.5}, {"w": np.array([1.0, 2.0]), "b": np.array(0.5)}),
        ({"layer": {"w": np.ones((2, 2), np.float32)}}, {("layer", "w"): np.ones((2, 2), np.float32)}),
        (np.float32(3), {NUMPY_KEY: np.array(3, np.float32)}),
    ],
)
def test_every_form_of_an_initial_model_is_accepted(script, model, wanted):
    found = dict(flatten(initial_params(recipe(script, initial_model=model))))
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(min_size=1, max_size=5), ARRAYS, min_size=1, max_size=3))
def test_an_unchanged_model_comes_back_unchanged(script, tmp_path_factory, model):
    env = SimEnv(num_clients=2, num_threads=1, workspace_root=tmp_path_factory.mktemp("runs"))
    found = recipe(script, initial_model=model).execute(env).load_model()
    for key, value in model.items():
        np.testing.assert_array_equal(found[key], value)
        found[key] += 1  # the loaded arrays are writable


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_a_run_can_start_from_a_checkpoint(script, tmp_path, suffix):
    path = tmp_path / f"start{suffix}"
    weights = np.arange(4.0)
    if suffix == ".npy":
        np.save(path, weights)
    elif suffix == ".npz":
        np.savez(path, w=weights)
    else:
        write_file(path, {"w": weights})
    name = NUMPY_KEY if suffix == ".npy" else "w"
    np.testing.assert_array_equal(initial_params(recipe(script, initial_ckpt=path))[name], weights)
    model = np.zeros(4) if suffix == ".npy" else {"w": np.zeros(4)}
    np.testing.assert_array_equal(initial_params(recipe(script, initial_ckpt=path, initial_model=model))[name], weights)
    with pytest.raises(RecipeError, match="has shape"):
        recipe(script, initial_ckpt=path, initial_model=np.zeros(5) if suffix == ".npy" else {"w": np.zeros(5)})
    with pytest.raises(RecipeError, match="only initial_model has"):
        recipe(script, initial_ckpt=path, initial_model={"v": np.zeros(4), "w": np.zeros(4), NUMPY_KEY: np.zeros(4)})


def test_a_checkpoint_is_never_unpickled(script, tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        recipe(script, initial_ckpt=path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("weights", "initial_model"),
        ({"w": "text"}, r"initial_model\['w'\] is a builtins\.str"),
        ({"w": np.array(["a"])}, r"initial_model\['w'\] has dtype <U1"),
        ([[1], [1, 2]], "cannot become an array of numbers"),
        (np.array([object()]), "dtype object"),
        (None, "give initial_model or initial_ckpt"),
    ],
)
def test_values_that_are_not_a_model_are_refused(script, model, message):
    with pytest.raises(RecipeError, match=message):
        recipe(script, initial_model=model)


def test_the_error_for_a_model_of_another_framework_names_its_recipe(script):
    torch = pytest.importorskip("torch")
    for model in (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).state_dict(), torch.ones(2)):
        with pytest.raises(ModelTypeError, match=r"flare_recipes_pt\.FedAvgRecipe"):
            recipe(script, initial_model=model)


def test_an_exported_job_runs_like_its_recipe(script, tmp_path):
    made = recipe(script, initial_model={"w": np.arange(3.0)})
    job = load_job(made.export(tmp_path / "exported"))
    run = SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job)
    np.testing.assert_array_equal(run.load_model()["w"], np.arange(3.0))


def test_a_job_outlives_its_recipe(script, tmp_path):
    job = recipe(script, initial_model={"w": np.arange(3.0)}).build()
    gc.collect()
    run = SimEnv(num_clients=2, workspace_root=tmp_path / "runs").deploy(job)
    np.testing.assert_array_equal(run.load_model()["w"], np.arange(3.0))
    path = job.code.locate("initial_model.safetensors")
    del job
    gc.collect()
    assert not path.parent.exists()  # no temporary files are left behind
