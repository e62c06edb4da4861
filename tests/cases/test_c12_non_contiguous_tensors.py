"""C12: transposed, channels-last, expanded and strided tensors arrive with their values; the sender's do not change."""

from __future__ import annotations

import pytest

import flare_fobs

torch = pytest.importorskip("torch")

from flare_recipes_pt import FedAvgRecipe  # noqa: E402


def tensors():
    torch.manual_seed(0)
    return {
        "transposed": torch.arange(24.0).reshape(4, 6).t(),
        "channels_last": torch.randn(8, 3, 3, 3).to(memory_format=torch.channels_last),
        "expanded": torch.ones(1, 4).expand(3, 4),
        "strided": torch.arange(10.0)[::2],
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }


def test_the_serializer_accepts_them():
    originals = tensors()
    strides = {name: tensor.stride() for name, tensor in originals.items()}
    decoded = flare_fobs.loads(flare_fobs.dumps(originals))
    for name, tensor in originals.items():
        assert torch.equal(decoded[name], tensor), name
        assert not decoded[name].requires_grad
        assert tensor.stride() == strides[name]
    assert originals["parameter"].requires_grad


@pytest.mark.parametrize("external", [False, True])
def test_a_run_accepts_them_from_the_recipe_and_from_the_script(project, external):
    script = project.write(
        "client.py",
        """
        import torch
        import flare_core.client as flare

        flare.init()
        while flare.is_running():
            params = dict(flare.receive().params)
            assert params["transposed"][1, 2] == 13.0
            params["transposed"] = (params["transposed"].t().contiguous() + 1).t()
            params["expanded"] = torch.full((1, 4), 5.0).expand(3, 4)
            params["parameter"] = torch.nn.Parameter(params["parameter"] * 2)
            before = params["transposed"].stride()
            flare.send(flare.FLModel(params=params), clear_cache=False)
            assert params["transposed"].stride() == before
        """,
    )
    initial = tensors()
    recipe = FedAvgRecipe(
        name="strides", min_clients=2, num_rounds=1, initial_model=initial, train_script=script,
        launch_external_process=external,
    )  # fmt: skip
    model = recipe.execute(project.env()).load_model()
    assert torch.equal(model["transposed"], initial["transposed"] + 1)
    assert torch.equal(model["channels_last"], initial["channels_last"])
    assert torch.equal(model["expanded"], torch.full((3, 4), 5.0))
    assert torch.equal(model["parameter"], torch.full((3,), 2.0))
