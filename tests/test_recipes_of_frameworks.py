"""Every recipe of PyTorch and scikit-learn: alike in the simulator and across processes, and with sites as they are."""

from __future__ import annotations

import hashlib
import textwrap

import numpy as np
import pytest

from flare_core import JobFailed, flatten
from flare_runtime import SimEnv
from flare_tensor_downloader import read_file

pytest.importorskip("torch")
pytest.importorskip("sklearn")

DATA = """
    import sys

    import numpy as np
    from sklearn.datasets import load_digits

    import flare_core.client as flare

    flare.init()
    number = int(flare.get_site_name().removeprefix("site-"))
    if "--die" in sys.argv and number == 2:
        raise ValueError("this site has no luck")
    rows, labels = load_digits(return_X_y=True)
    rows, labels = rows[number::20] / 16, labels[number::20] % 3
    if "--as-they-are" in sys.argv and number == 1:
        rows, labels = rows[:0], labels[:0]
    if "--as-they-are" in sys.argv and number == 2:
        rows, labels = rows[labels == 1], labels[labels == 1]
"""

TORCH = """
    import torch

    from flare_recipes_pt import Scaffold

    net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x, y = torch.tensor(rows, dtype=torch.float32), torch.tensor(labels)
    scaffold = None
    while flare.is_running():
        model = flare.receive()
        if flare.is_submit_model():
            flare.send(flare.FLModel(params=net.state_dict()))
            continue
        net.load_state_dict(model.params)
        net.eval()
        correct = (net(x).argmax(dim=1) == y).float().mean() if len(y) else torch.tensor(0.0)
        metrics, meta = {"accuracy": correct.item()}, {"NUM_STEPS_CURRENT_ROUND": len(y)}
        if flare.is_evaluate():
            flare.send(flare.FLModel(metrics=metrics, meta=meta))
            continue
        if model.optimizer_params:
            scaffold = scaffold or Scaffold(net)
            scaffold.start(model)
        net.train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        steps = 3 if len(y) else 0
        for _ in range(steps):
            chosen = torch.randperm(len(y))[:16]  # from the site's own generator
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            if scaffold:
                scaffold.correct()
            optimizer.step()
        controls = scaffold.finish(steps, 0.1) if scaffold and steps else None
        flare.send(flare.FLModel(params=net.state_dict(), optimizer_params=controls, metrics=metrics, meta=meta))
"""
LINEAR = """
    from sklearn.linear_model import SGDClassifier

    from flare_recipes_sklearn import get_params, set_params

    classes = flare.get_config()["classes"]
    estimator = SGDClassifier(random_state=0)
    while flare.is_running():
        params = flare.receive().params
        if len(labels):
            set_params(estimator, params, classes=classes)
            estimator.partial_fit(rows, labels)
            params = get_params(estimator, classes=classes)
        flare.send(flare.FLModel(params=params, meta={"NUM_STEPS_CURRENT_ROUND": len(labels)}))
"""
KMEANS = """
    from flare_recipes_sklearn import kmeans_step

    while flare.is_running():
        flare.send(flare.FLModel(params=kmeans_step(flare.receive().params, rows)))
"""
NEWTON = """
    from flare_recipes_sklearn import newton_sums

    rows, labels = rows[:, [19, 20, 28, 36]], labels == 1
    while flare.is_running():
        flare.send(flare.FLModel(params=newton_sums(flare.receive().params["weights"], rows, labels)))
"""
SVM = """
    from flare_recipes_sklearn import svm_step

    while flare.is_running():
        flare.send(flare.FLModel(params=svm_step(flare.receive().params, rows, labels, **flare.get_config()["svc"])))
"""


def _net():
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def _adam():
    return {"class_path": "torch.optim.Adam", "args": {"lr": 0.05}}


RECIPES = {
    "pt.FedAvgRecipe": (TORCH, lambda: {"initial_model": _net()}),
    "pt.FedOptRecipe": (TORCH, lambda: {"initial_model": _net(), "optimizer_args": _adam()}),
    "pt.ScaffoldRecipe": (TORCH, lambda: {"initial_model": _net()}),
    "pt.CyclicRecipe": (TORCH, lambda: {"initial_model": _net()}),
    "pt.CrossSiteEvalRecipe": (TORCH, lambda: {"initial_model": _net(), "num_rounds": 1}),
    "pt.FedEvalRecipe": (TORCH, lambda: {"initial_model": _net(), "num_rounds": 1}),
    "pt.SwarmLearningRecipe": (TORCH, lambda: {"initial_model": _net()}),
    "sklearn.FedAvgRecipe": (LINEAR, lambda: {"classes": range(3), "num_features": 64}),
    "sklearn.KMeansFedAvgRecipe": (KMEANS, lambda: {"n_clusters": 3}),
    "sklearn.FedAvgLrRecipe": (NEWTON, lambda: {"num_features": 4}),
    "sklearn.SVMFedAvgRecipe": (SVM, dict),
}


@pytest.fixture
def make(tmp_path):
    import flare_recipes_pt
    import flare_recipes_sklearn

    packages = {"pt": flare_recipes_pt, "sklearn": flare_recipes_sklearn}

    def build(name: str, **arguments):
        script, own = RECIPES[name]
        package, _, recipe = name.partition(".")
        (tmp_path / "client.py").write_text(textwrap.dedent(DATA) + textwrap.dedent(script))
        values = {"min_clients": 2, "num_rounds": 2, "train_script": tmp_path / "client.py", **own(), **arguments}
        return getattr(packages[package], recipe)(**values)

    return build


@pytest.fixture
def sim(tmp_path):
    return lambda clients=2: SimEnv(num_clients=clients, workspace_root=tmp_path / "runs")


@pytest.fixture
def check_is_finite(model_file):
    def check(run) -> None:
        found = [np.asarray(value, np.float64) for _, value in flatten(read_file(model_file(run.get_result())))]
        assert found
        assert all(np.isfinite(value).all() for value in found)

    return check


@pytest.mark.parametrize("name", RECIPES)
def test_one_site_is_enough(make, sim, check_is_finite, name):
    check_is_finite(make(name, min_clients=1).execute(sim(1)))


@pytest.mark.parametrize("name", RECIPES)
def test_sites_with_one_class_or_no_rows_take_part(make, sim, check_is_finite, name):
    check_is_finite(make(name, min_clients=3, train_args="--as-they-are").execute(sim(3)))


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_that_dies_is_named(make, sim, name):
    with pytest.raises(JobFailed, match="site-2") as caught:
        make(name, train_args="--die").execute(sim())
    assert "this site has no luck" in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_the_model_is_the_same_in_the_simulator_and_across_processes(make, sim, hospital, model_file, name):
    place = hospital()
    recipe = make(name)
    found, _ = place.run(recipe.job())
    assert found["state"] == "finished", found["reason"]
    here = model_file(recipe.execute(sim()).get_result())
    site = place.kit("site-1") / "jobs" / found["id"] / "run" / "sites" / "site-1"
    there = model_file(place.folder / "results" / found["id"], site)
    assert hashlib.sha256(there.read_bytes()).hexdigest() == hashlib.sha256(here.read_bytes()).hexdigest()
