"""Runs from a module, its state dict or a checkpoint of it are the same, with every server optimizer."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import RecipeError
from flare_recipes_np import FedAvgRecipe as NumpyFedAvgRecipe
from flare_tensor_downloader import read_file

torch = pytest.importorskip("torch")

from flare_recipes_pt import FedOptRecipe  # noqa: E402

SCRIPT = """
    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    while flare.is_running():
        params = flare.receive().params
        for key, value in params.items():
            value += 1 if "tracked" in key else 0.25 * number if "weight" in key else 0.5 * number * value
        flare.send(flare.FLModel(params=params))
"""


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))


@pytest.mark.parametrize("form", ["state dict", ".pt", ".safetensors", "module and .pt"])
@pytest.mark.parametrize("optimizer", ["flare_core.optimizers.Adam", "torch.optim.SGD", "torch.optim.AdamW"])
def test_statistics_are_averaged_whatever_the_form(project, form, optimizer):
    from safetensors.torch import save_file

    given = {"initial_model": net()}
    arguments = {
        "name": "forms",
        "min_clients": 2,
        "num_rounds": 2,
        "train_script": project.write("client.py", SCRIPT),
        "optimizer_args": {"class_path": optimizer, "args": {"lr": 0.5}},
    }
    wanted = FedOptRecipe(**arguments, **given).execute(project.env()).load_model()
    if form == "state dict":
        given = {"initial_model": net().state_dict()}
    elif form == ".safetensors":
        save_file(net().state_dict(), project.folder / "start.safetensors")
        given = {"initial_ckpt": project.folder / "start.safetensors"}
    else:
        torch.save(net().state_dict(), project.folder / "start.pt")
        module = {"initial_model": net()} if "module" in form else {}
        given = {"initial_ckpt": project.folder / "start.pt", **module}
    found = FedOptRecipe(**arguments, **given).execute(project.env()).load_model()
    assert found.keys() == wanted.keys()
    for key in wanted:
        assert torch.equal(found[key], wanted[key]), key
    assert found["1.running_var"].tolist() == [1.75**2] * 2


def test_a_checkpoint_adopts_the_width_of_its_model_but_no_other_kind_of_number(project):
    path = project.folder / "start.npz"
    model = {"w": np.zeros(2, np.float32), "n": np.zeros(2, np.int64)}
    script = project.write("client.py", "")

    def made():
        return NumpyFedAvgRecipe(min_clients=1, initial_model=model, initial_ckpt=path, train_script=script)

    np.savez(path, w=np.array([0.5, 2.0]), n=np.array([1, 2], np.int32))
    recipe = made()
    found = read_file(recipe._initial_file)
    assert {key: (value.dtype.name, value.tolist()) for key, value in found.items()} == {
        "w": ("float32", [0.5, 2.0]),
        "n": ("int64", [1, 2]),
    }
    np.savez(path, w=np.array([0, 2]), n=np.array([1, 2]))
    with pytest.raises(RecipeError, match=r"does not fit initial_model: 'w' has dtype int64 there"):
        made()
