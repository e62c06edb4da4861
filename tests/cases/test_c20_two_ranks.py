"""C20: under torchrun, rank 0 speaks for the site and the other ranks go through the same rounds."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_torchrun_with_two_gloo_ranks(project):
    script = """
        import json, os
        import torch
        import torch.distributed as dist
        import flare_core.client as flare

        dist.init_process_group("gloo")
        rank = dist.get_rank()
        flare.init()
        seen = []
        while flare.is_running():
            model = flare.receive()
            weight = torch.zeros(2)
            if rank == 0:
                weight += model.params["w"]
            else:
                assert model is None
            dist.broadcast(weight, src=0)
            gradient = torch.full((2,), float(rank + 1))
            dist.all_reduce(gradient)
            weight += gradient
            seen.append(weight.tolist())
            flare.send(flare.FLModel(params={"w": weight}, metrics={"accuracy": 0.5}))
        with open(f"rank-{rank}.json", "w") as file:
            json.dump(seen, file)
        dist.destroy_process_group()
    """
    from flare_recipes_pt import FedAvgRecipe

    recipe = FedAvgRecipe(
        name="ranks",
        min_clients=1,
        num_rounds=3,
        initial_model={"w": torch.zeros(2)},
        train_script=project.write("client.py", script),
        launch_external_process=True,
        command="torchrun --standalone --nproc_per_node 2",
    )
    run = recipe.execute(project.env(1))
    assert run.load_model()["w"].tolist() == [9.0, 9.0]
    for rank in (0, 1):
        seen = json.loads((run.get_result() / "sites" / "site-1" / f"rank-{rank}.json").read_text())
        assert seen == [[3.0, 3.0], [6.0, 6.0], [9.0, 9.0]]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_torchrun_with_two_gloo_ranks_in_a_federation_of_processes(project):
    from flare_tensor_downloader import read_file

    script = """
        import torch
        import torch.distributed as dist
        import flare_core.client as flare

        dist.init_process_group("gloo")
        flare.init()
        while flare.is_running():
            model = flare.receive()
            weight = torch.zeros(2, dtype=torch.float64)
            if dist.get_rank() == 0:
                ((key, value),) = model.params.items()
                weight += torch.from_numpy(value)
            dist.broadcast(weight, src=0)
            gradient = torch.full((2,), float(dist.get_rank() + 1), dtype=torch.float64)
            dist.all_reduce(gradient)
            weight += gradient
            flare.send(flare.FLModel(params={key: weight.numpy()} if dist.get_rank() == 0 else {}))
        dist.destroy_process_group()
    """
    ranks = {"launch_external_process": True, "command": "torchrun --standalone --nproc_per_node 2"}
    status, folder, printed = project.poc(script, clients=1, num_rounds=3, **ranks)
    assert status == "finished", printed
    (weight,) = read_file(folder / "server" / "global_model.safetensors").values()
    assert weight.tolist() == [9.0, 9.0]
