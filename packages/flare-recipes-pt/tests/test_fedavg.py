"""PyTorch's FedAvgRecipe: initial models, checkpoints, the params that scripts receive, and the result files."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from flare_core import ModelTypeError, RecipeError
from flare_recipes_pt import FedAvgRecipe
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file

ADD_ONE = """
    import torch
    import flare_core.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        assert all(isinstance(value, torch.Tensor) for value in model.params.values())
        params = {key: value + 1 for key, value in model.params.items()}
        flare.send(flare.FLModel(params=params, metrics={"accuracy": 0.5}))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "client.py"
    path.write_text(textwrap.dedent(ADD_ONE))
    return path


@pytest.fixture
def env(tmp_path):
    return SimEnv(num_clients=2, workspace_root=tmp_path / "runs")


def recipe(script, **arguments) -> FedAvgRecipe:
    return FedAvgRecipe(**{"min_clients": 2, "num_rounds": 1, "train_script": script, **arguments})


def initial_params(made: FedAvgRecipe) -> dict:
    return read_file(made._initial_file)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))


@pytest.mark.parametrize("form", ["module", "state dict", "class path"])
def test_every_form_of_an_initial_model_is_accepted(script, form):
    models = {
        "module": network(),
        "state dict": network().state_dict(),
        "class path": {"class_path": "torch.nn.Linear", "args": {"in_features": 3, "out_features": 4}},
    }
    initial = initial_params(recipe(script, initial_model=models[form]))
    if form == "class path":
        assert {name: value.shape for name, value in initial.items()} == {"weight": (4, 3), "bias": (4,)}
        return
    for name, tensor in network().state_dict().items():
        np.testing.assert_array_equal(initial[name], tensor.numpy())
        assert initial[name].shape == tuple(tensor.shape)


def test_the_recipe_copies_the_model_when_it_is_created(script):
    net = network()
    made = recipe(script, initial_model=net)
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.zero_()
    np.testing.assert_array_equal(initial_params(made)["0.weight"], before.numpy())


def test_scripts_receive_tensors_and_results_are_saved_in_both_formats(script, env):
    net = network()
    run = recipe(script, initial_model=net).execute(env)
    wanted = {name: value + 1 for name, value in network().state_dict().items()}
    folder = run.get_result() / "server"
    states = [
        torch.load(folder / "global_model.pt", weights_only=True),
        run.load_model(),
        load_file(folder / "global_model.safetensors"),
    ]
    for state in states:
        net.load_state_dict(state)
        for name, value in wanted.items():
            assert state[name].dtype == value.dtype
            torch.testing.assert_close(state[name], value)
    assert torch.load(folder / "best_model.pt", weights_only=True).keys() == wanted.keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
def test_dtypes_survive_a_round_trip(script, env, dtype):
    script.write_text(script.read_text().replace("value + 1", "value"))
    state = {"w": torch.ones(3, 2).to(dtype)}
    found = recipe(script, initial_model=state).execute(env).load_model()
    assert found["w"].dtype == dtype
    assert torch.equal(found["w"], state["w"])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_run_can_start_from_a_checkpoint(script, tmp_path, suffix):
    path = tmp_path / f"start{suffix}"
    state = network().state_dict()
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    for arguments in ({}, {"initial_model": other}):
        initial = initial_params(recipe(script, initial_ckpt=path, **arguments))
        np.testing.assert_array_equal(initial["0.weight"], state["0.weight"].numpy())
    with pytest.raises(RecipeError, match=r"only the checkpoint has|only initial_model has"):
        recipe(script, initial_ckpt=path, initial_model=nn.Linear(3, 4))
    with pytest.raises(RecipeError, match=r"'0\.weight' has shape"):
        recipe(
            script,
            initial_ckpt=path,
            initial_model=nn.Sequential(nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)),
        )


def test_a_checkpoint_is_converted_to_the_dtypes_of_the_model(script, tmp_path, env):
    path = tmp_path / "half.pt"
    torch.save(network().half().state_dict(), path)
    made = recipe(script, initial_ckpt=path, initial_model=network())
    for name, value in initial_params(made).items():
        assert value.dtype == network().state_dict()[name].numpy().dtype
    assert initial_params(recipe(script, initial_ckpt=path))["0.weight"].dtype == np.float16  # no model to match


@pytest.mark.parametrize("form", ["module", "checkpoint"])
def test_a_model_without_parameters_is_refused(script, tmp_path, form):
    torch.save({}, tmp_path / "empty.pt")
    arguments = {"initial_model": nn.ReLU()} if form == "module" else {"initial_ckpt": tmp_path / "empty.pt"}
    with pytest.raises(RecipeError, match="has no parameters"):
        recipe(script, **arguments)


def test_a_key_that_is_not_a_string_is_refused(script):
    with pytest.raises(RecipeError, match="initial_model has the key 1; give a state dict"):
        recipe(script, initial_model={1: torch.ones(2)})


def test_a_checkpoint_that_would_run_code_is_refused(script, tmp_path):
    path = tmp_path / "whole.pt"
    torch.save(network(), path)
    with pytest.raises(RecipeError, match=r"torch\.save\(model\.state_dict\(\), \.\.\.\)"):
        recipe(script, initial_ckpt=path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (np.ones(3), "flare[-_]recipes[-_]np"),  # to install, or whose recipe to use if it is installed
        ({"w": np.ones(3)}, r"initial_model\['w'\].*flare[-_]recipes[-_]np"),
    ],
)
def test_the_error_for_a_model_of_another_framework_names_its_package(script, model, message):
    with pytest.raises(ModelTypeError, match=message):
        recipe(script, initial_model=model)


@pytest.mark.parametrize("model", [nn.Linear, "resnet18", [1.0, 2.0], {"class_path": "torch.nn.Nothing"}, {}])
def test_values_that_are_not_a_model_are_refused(script, model):
    with pytest.raises(RecipeError, match=r"initial_model|torch\.nn\.Module"):
        recipe(script, initial_model=model)
