"""Federated averaging against the closed form, bit-identical in every way to run it."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = {"site-1": 7, "site-2": 20, "site-3": 33, "site-4": 1}
LEARNING_RATE = 0.05
ROUNDS = 12

LINEAR_REGRESSION = f"""
    import sys
    import numpy as np
    import flare_core.client as flare

    flare.init()
    data = np.load(sys.argv[1])
    x, y = data[flare.get_site_name() + "-x"], data[flare.get_site_name() + "-y"]
    while flare.is_running():
        weights = flare.receive().params["weights"]
        gradient = 2 * x.T @ (x @ weights - y) / len(y)
        flare.send(flare.FLModel(
            params={{"weights": weights - {LEARNING_RATE} * gradient}},
            meta={{"NUM_STEPS_CURRENT_ROUND": len(y)}},
        ))
"""


@pytest.fixture
def data(tmp_path):
    generator = np.random.default_rng(5)
    arrays = {}
    for site, size in SIZES.items():
        arrays[f"{site}-x"] = generator.normal(size=(size, 6))
        arrays[f"{site}-y"] = generator.normal(size=size)
    np.savez(tmp_path / "data.npz", **arrays)
    return arrays


def centralised(data, rounds: int) -> np.ndarray:
    """Full-batch gradient descent on the pooled rows of all sites; each row counts equally."""
    x = np.concatenate([data[f"{site}-x"] for site in SIZES])
    y = np.concatenate([data[f"{site}-y"] for site in SIZES])
    weights = np.zeros(6)
    for _ in range(rounds):
        weights = weights - LEARNING_RATE * 2 * x.T @ (x @ weights - y) / len(y)
    return weights


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("transfer", ["FULL", "DIFF"])
def test_rounds_equal_steps_of_centralised_gradient_descent(project, data, transfer, external):
    run = project.recipe(
        LINEAR_REGRESSION,
        initial_model={"weights": np.zeros(6)},
        num_rounds=ROUNDS,
        train_args=[str(project.folder / "data.npz")],
        params_transfer_type=transfer,
        launch_external_process=external,
        key_metric=None,
    ).execute(project.env(4))
    np.testing.assert_allclose(run.load_model()["weights"], centralised(data, ROUNDS), rtol=0, atol=1e-12)


RANDOM = """
    import random
    import numpy as np
    import flare_core.client as flare

    flare.init()
    size = int(flare.get_site_name()[-1])
    while flare.is_running():
        params = {
            key: value * np.float32(0.9) + np.random.normal(size=value.shape).astype(value.dtype) * random.random()
            for key, value in flare.receive().params.items()
        }
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": size + random.random()}))
"""
MODEL = {"w": np.linspace(0, 1, 50_001, dtype=np.float32), "b": np.zeros(3), "h": np.ones((2, 2), np.float16)}


def bits(params) -> dict[str, bytes]:
    return {key: np.asarray(value).tobytes() for key, value in params.items()}


def test_the_same_bits_from_any_number_of_workers_and_every_time(project):
    recipe = project.recipe(RANDOM, initial_model=MODEL, num_rounds=5, seed=3)
    found = [bits(recipe.execute(project.env(5, num_threads=workers)).load_model()) for workers in (1, 1, 2, 4, 5)]
    shared = [project.env(5, num_threads=workers, share_processes=True) for workers in (1, 2)]
    found += [bits(recipe.execute(env).load_model()) for env in shared]
    assert all(each == found[0] for each in found)
    other = project.recipe(RANDOM, initial_model=MODEL, num_rounds=5, seed=4)
    assert bits(other.execute(project.env(5)).load_model()) != found[0]


TORCH = """
    import torch
    import flare_core.client as flare

    flare.init()
    net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    data = torch.randn(64, 16), torch.randint(4, (64,))
    while flare.is_running():
        net.load_state_dict(flare.receive().params)
        for rows in torch.randperm(64).split(16):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(data[0][rows]), data[1][rows]).backward()
            optimizer.step()
        flare.send(flare.FLModel(params=net.state_dict()))
"""


def test_the_same_bits_from_torch_with_its_global_generator(project):
    torch = pytest.importorskip("torch")
    from flare_recipes_pt import FedAvgRecipe

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    recipe = FedAvgRecipe(
        min_clients=4, num_rounds=3, initial_model=net, train_script=project.recipe(TORCH)._defaults.script
    )
    found = [bits(recipe.execute(project.env(4, num_threads=workers)).load_model()) for workers in (1, 2, 4)]
    assert all(each == found[0] for each in found)
