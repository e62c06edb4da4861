"""C05: SCAFFOLD has controls for trained parameters only, which keep their dtype from the sites to the server."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from flare_recipes_pt import ScaffoldRecipe  # noqa: E402

SCRIPT = """
    import torch
    import flare_core.client as flare
    from net import network

    flare.init()
    net = network({dtype})
    trained = {name for name, value in net.named_parameters()}
    delta = 0.5 if flare.get_site_name() == "site-1" else 0.25
    while flare.is_running():
        received = flare.receive()
        if received.current_round == 1:
            controls = received.optimizer_params
            assert controls.keys() == trained, controls.keys()
            assert all(value.dtype == {dtype} for value in controls.values())
            assert (controls["0.weight"] == 0.375).all(), controls["0.weight"]
        net.load_state_dict(received.params)
        changes = {name: torch.full_like(value.detach(), delta) for name, value in net.named_parameters()}
        flare.send(flare.FLModel(params=net.state_dict(), optimizer_params=changes))
"""

NETWORK = """
    import torch

    def network(dtype):
        return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).to(dtype)
"""


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_the_global_control_is_the_mean_in_the_parameters_dtype(project, dtype):
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).to(getattr(torch, dtype[6:]))
    project.write("net.py", NETWORK)
    recipe = ScaffoldRecipe(
        name="controls",
        min_clients=2,
        num_rounds=2,
        initial_model=net,
        train_script=project.write("client.py", SCRIPT.replace("{dtype}", dtype)),
    )
    run = recipe.execute(project.env())  # the scripts check the controls received in the second round
    net.load_state_dict(run.load_model(), strict=True)
