"""Every PyTorch recipe with a real network and data: in both environments, and at sites with missing data."""

from __future__ import annotations

import runpy

import numpy as np
import pytest

from flare_core import JobFailed, ParamsType

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")

RECIPES = {
    "CrossSiteEvalRecipe": {},
    "CyclicRecipe": {},
    "FedAvgRecipe": {},
    "FedEvalRecipe": {},
    "FedOptRecipe": {"optimizer_args": {"class_path": "torch.optim.Adam", "args": {"lr": 0.01}}},
    "ScaffoldRecipe": {},
    "SwarmLearningRecipe": {},
}
EVALUATIONS = {"CrossSiteEvalRecipe", "FedEvalRecipe"}  # they leave the model unchanged

NETWORK = """
    from torch import nn


    def network():
        return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
"""

SCRIPT = """
    import sys

    import numpy as np
    import torch
    from torch.nn.functional import cross_entropy

    import flare_core.client as flare
    from flare_recipes_pt import Scaffold
    from network import network

    flare.init()
    torch.set_num_threads(1)  # a sum that is shared among threads has other last bits than one of a single thread
    site = flare.get_site_name()
    if "--die" in sys.argv and site == "site-2":
        raise ValueError("this site has no luck")
    data = np.load(f"{sys.argv[1]}/{site}.npz")
    images, labels = torch.from_numpy(data["images"]), torch.from_numpy(data["labels"])
    net = network()
    scaffold = Scaffold(net)


    def accuracy():
        net.eval()
        with torch.no_grad():
            return (net(images).argmax(dim=1) == labels).double().mean().item()


    def train(received=None):
        net.train()
        corrects = received is not None and received.optimizer_params is not None
        if corrects:
            scaffold.start(received)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        batches = torch.randperm(len(labels)).split(20)
        for batch in batches:
            optimizer.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()
            if corrects:
                scaffold.correct()
            optimizer.step()
        return scaffold.finish(len(batches), 0.1) if corrects else None


    while flare.is_running():
        received = flare.receive()
        controls = None
        if flare.is_submit_model():
            if len(labels):
                train()
            flare.send(flare.FLModel(params=net.state_dict()))
            continue
        net.load_state_dict(received.params)
        metrics = {"accuracy": accuracy()} if len(labels) else {}
        meta = {"NUM_STEPS_CURRENT_ROUND": len(labels)}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics, meta=meta))
            continue
        if len(labels):
            controls = train(received)
        params = net.state_dict()
        flare.send(flare.FLModel(params=params, optimizer_params=controls, metrics=metrics, meta=meta))
"""


@pytest.fixture
def make(project):
    """Create a recipe by name, after giving each site its rows: 40 digits, or the selected ones among them."""
    import flare_recipes_pt

    network = runpy.run_path(str(project.write("network.py", NETWORK)))["network"]
    script = project.write("client.py", SCRIPT)
    images, labels = datasets.load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)

    def build(name, *words, second=None, **arguments):
        for site, rows in {"site-1": slice(0, 40), "site-2": slice(40, 80) if second is None else second}.items():
            np.savez(project.folder / f"{site}.npz", images=images[rows], labels=labels[rows])
        torch.manual_seed(0)
        rounds = {} if name in EVALUATIONS else {"num_rounds": 2}
        values = {"min_clients": 2, "initial_model": network(), **rounds, **RECIPES[name], **arguments}
        train_args = [str(project.folder), *words]
        return getattr(flare_recipes_pt, name)(train_script=script, train_args=train_args, **values)

    build.zeros = np.flatnonzero(labels == 0)[:40]
    return build


def check(name, outcome):
    """Check that the model is finite and that training has changed it, including its counters."""
    assert all(np.isfinite(value).all() for value in outcome.params.values())
    assert outcome.measured("site-1")
    seen = int(outcome.params["1.num_batches_tracked"])
    assert (seen > 0) == (name not in EVALUATIONS)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("transfer", list(ParamsType))
def test_one_site_is_enough(make, project, name, transfer):
    check(name, project.outcome(make(name, min_clients=1, params_transfer_type=transfer), 1))


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_that_dies_is_named(make, project, name):
    with pytest.raises(JobFailed, match="site-2") as caught:
        project.outcome(make(name, "--die"))
    assert "this site has no luck" in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_with_rows_of_one_class_takes_part(make, project, name):
    outcome = project.outcome(make(name, second=make.zeros))
    check(name, outcome)
    assert outcome.measured("site-2")


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_without_rows_takes_part_and_changes_nothing(make, project, name):
    outcome = project.outcome(make(name, second=slice(0, 0)))
    check(name, outcome)
    if name != "ScaffoldRecipe":  # whose controls are the mean over all sites, with rows or without
        alone = project.outcome(make(name, min_clients=1), 1)
        assert set(outcome.models.values()) == set(alone.models.values())


@pytest.mark.timeout(300)  # three processes of every run import torch
@pytest.mark.at_length
def test_every_recipe_gives_the_same_result_in_the_simulator_and_across_processes(make, project, hospital):
    place = hospital()
    for name in RECIPES:
        recipe = make(name)
        # Every worker imports torch again here, so use one.
        simulated = project.outcome(recipe, num_threads=1, share_processes=True)
        assert place.outcome(recipe.job()) == simulated, name
