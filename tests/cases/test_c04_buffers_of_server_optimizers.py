"""C04: a server optimizer steps trained parameters; buffers, counters and frozen parameters are averaged."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from flare_recipes_pt import FedAvgRecipe, FedOptRecipe  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.frozen = torch.nn.Parameter(torch.full((2,), 7.0), requires_grad=False)
        self.register_buffer("running_mean", torch.zeros(3))
        self.register_buffer("num_batches_tracked", torch.tensor(5))


SCRIPT = """
    import flare_core.client as flare

    flare.init()
    first = flare.get_site_name() == "site-1"
    while flare.is_running():
        params = flare.receive().params
        params["weight"] -= 0.2 if first else 0.4
        params["running_mean"] += 0.2 if first else 0.6
        params["num_batches_tracked"] += 5 if first else 16
        flare.send(flare.FLModel(params=params))
"""


@pytest.mark.parametrize("optimizer", ["flare_core.optimizers.SGD", "torch.optim.SGD"])
@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_a_plain_step_of_the_server_is_the_mean_on_every_key(project, optimizer, transfer):
    arguments = {
        "name": "buffers",
        "min_clients": 2,
        "num_rounds": 1,
        "initial_model": Net(),
        "train_script": project.write("client.py", SCRIPT),
        "params_transfer_type": transfer,
    }
    averaged = FedAvgRecipe(**arguments).execute(project.env()).load_model()
    stepped = (
        FedOptRecipe(**arguments, optimizer_args={"class_path": optimizer, "args": {"lr": 1.0}})
        .execute(project.env())
        .load_model()
    )
    torch.testing.assert_close(stepped, averaged)
    torch.testing.assert_close(stepped["weight"], torch.full((3,), 0.7))
    torch.testing.assert_close(stepped["running_mean"], torch.full((3,), 0.4))
    assert stepped["num_batches_tracked"].item() == 16  # 15.5, rounded half to even
    assert stepped["num_batches_tracked"].dtype == torch.int64
    assert stepped["frozen"].tolist() == [7.0, 7.0]
