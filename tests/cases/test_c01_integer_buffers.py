"""C01: integer counter buffers go through the weighted mean, whole or as differences, with one result."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import ParamsType

SCRIPT = """
    import numpy as np
    import flare_core.client as flare

    flare.init()
    first = flare.get_site_name() == "site-1"
    while flare.is_running():
        model = flare.receive()
        assert model.params["bn.num_batches_tracked"].shape == ()
        params = {
            "w": np.array([1.0, 2.0] if first else [3.0, 6.0]),
            "bn.num_batches_tracked": np.array(10 if first else 21),
        }
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": 1 if first else 3}))
"""


@pytest.mark.parametrize("transfer", list(ParamsType))
def test_counters_are_rounded_equally_in_both_modes(project, transfer):
    initial = {"w": np.zeros(2), "bn.num_batches_tracked": np.array(5)}
    recipe = project.recipe(SCRIPT, initial_model=initial, params_transfer_type=transfer)
    model = recipe.execute(project.env()).load_model()
    assert model["w"].tolist() == [2.5, 5.0]
    counter = model["bn.num_batches_tracked"]
    assert (counter.dtype, counter.shape, counter.item()) == (np.dtype(np.int64), (), 18)  # the mean is 18.25


def test_a_module_with_batch_norm_loads_the_result_strictly(project):
    torch = pytest.importorskip("torch")
    from flare_recipes_pt import FedAvgRecipe

    script = project.write(
        "pt.py",
        """
        import torch
        import flare_core.client as flare

        flare.init()
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        while flare.is_running():
            net.load_state_dict(flare.receive().params)
            for _ in range(10 if flare.get_site_name() == "site-1" else 21):
                net(torch.randn(5, 3))
            flare.send(flare.FLModel(params=net.state_dict()))
        """,
    )
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    recipe = FedAvgRecipe(name="bn", min_clients=2, num_rounds=2, initial_model=net, train_script=script)
    run = recipe.execute(project.env())
    net.load_state_dict(run.load_model(), strict=True)
    assert net[1].num_batches_tracked.item() == 32  # 15.5 rounds to the even 16, twice
    assert net[1].num_batches_tracked.shape == ()
