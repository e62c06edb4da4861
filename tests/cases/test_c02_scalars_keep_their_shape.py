"""C02: 0-d tensors keep shape and dtype through every step: serializer, downloader, mean, checkpoint, module."""

from __future__ import annotations

import numpy as np
import pytest

NAMES = ("logit_scale", "n", "flag", "vector")


def values(site):
    return {
        "logit_scale": np.array(2.0 if site == 1 else 4.0, np.float32),
        "n": np.array(3, np.int64),
        "flag": np.array(True),
        "vector": np.arange(3, dtype=np.float32),
    }


def test_numpy_scalars(project):
    script = """
        import numpy as np
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            model = flare.receive()
            assert [np.shape(model.params[k]) for k in ("logit_scale", "n", "flag", "vector")] == [(), (), (), (3,)]
            scale = np.array(2.0 if flare.get_site_name() == "site-1" else 4.0, np.float32)
            flare.send(flare.FLModel(params={**model.params, "logit_scale": scale}))
    """
    recipe = project.recipe(script, initial_model=values(1), num_rounds=2)
    model = recipe.execute(project.env()).load_model()
    assert model["logit_scale"] == 3.0
    assert {name: (model[name].shape, model[name].dtype) for name in NAMES} == {
        name: (value.shape, value.dtype) for name, value in values(1).items()
    }


def test_torch_scalars_and_the_saved_file(project):
    torch = pytest.importorskip("torch")
    from flare_recipes_pt import FedAvgRecipe

    project.write(
        "net.py",
        """
        import torch

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.logit_scale = torch.nn.Parameter(torch.tensor(0.0))
                self.vector = torch.nn.Parameter(torch.zeros(3))
                self.register_buffer("n", torch.tensor(3))
                self.register_buffer("flag", torch.tensor(True))
        """,
    )
    script = project.write(
        "client.py",
        """
        import torch
        import flare_core.client as flare
        from net import Net

        flare.init()
        net = Net()
        while flare.is_running():
            net.load_state_dict(flare.receive().params)
            net.logit_scale.data.fill_(2.0 if flare.get_site_name() == "site-1" else 4.0)
            flare.send(flare.FLModel(params=net.state_dict()))
        """,
    )
    initial = {
        "logit_scale": torch.tensor(0.0),
        "vector": torch.zeros(3),
        "n": torch.tensor(3),
        "flag": torch.tensor(True),
    }
    recipe = FedAvgRecipe(name="scalars", min_clients=2, num_rounds=2, initial_model=initial, train_script=script)
    folder = recipe.execute(project.env()).get_result()
    saved = torch.load(folder / "server" / "global_model.pt", weights_only=True)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in saved.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in initial.items()
    }
    assert saved["logit_scale"].item() == 3.0
