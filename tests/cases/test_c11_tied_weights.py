"""C11: tied weights are sent, averaged and saved, and are still tied in the module that loads them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from flare_recipes_pt import FedAvgRecipe  # noqa: E402

NET = """
    import torch

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = torch.nn.Embedding(50, 8)
            self.head = torch.nn.Linear(8, 50, bias=False)
            self.head.weight = self.emb.weight
"""
SCRIPT = """
    import torch
    import flare_core.client as flare
    from tied import Tied

    flare.init()
    net = Tied()
    untie = {untie} and flare.get_site_name() == "site-2"
    while flare.is_running():
        net.load_state_dict(flare.receive().params)
        net.emb.weight.data += 1.0 if flare.get_site_name() == "site-1" else 3.0
        state = net.state_dict()
        if untie:
            state["head.weight"] = state["head.weight"] + 10.0
        flare.send(flare.FLModel(params=state))
"""


@pytest.mark.parametrize("untie", [False, True])
def test_tied_weights_survive_a_run(project, monkeypatch, untie):
    project.write("tied.py", NET)
    script = project.write("client.py", SCRIPT.replace("{untie}", str(untie)))
    monkeypatch.syspath_prepend(str(project.folder))
    namespace: dict = {}
    exec((project.folder / "tied.py").read_text(), namespace)
    net = namespace["Tied"]()
    before = net.emb.weight.detach().clone()
    recipe = FedAvgRecipe(name="tied", min_clients=2, num_rounds=1, initial_model=net, train_script=script)
    run = recipe.execute(project.env())
    result = run.load_model()
    torch.testing.assert_close(result["emb.weight"], before + 2.0)
    torch.testing.assert_close(result["head.weight"], before + (7.0 if untie else 2.0))
    net.load_state_dict(result, strict=True)
    assert net.head.weight is net.emb.weight
    saved = torch.load(run.get_result() / "server" / "global_model.pt", weights_only=True)
    assert saved.keys() == {"emb.weight", "head.weight"}
