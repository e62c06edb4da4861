"""Every scikit-learn recipe with real data: in both environments, and at sites with missing data."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from flare_core import JobFailed

datasets = pytest.importorskip("sklearn.datasets")

RADIUS, TEXTURE, SMOOTHNESS = 0, 1, 4  # of the nuclei in a sample; the classes overlap, so no step is singular
RECIPES = {
    "FedAvgRecipe": (
        {"classes": [0, 1], "num_features": 3},
        """
        def step(params):
            estimator = set_params(SGDClassifier(random_state=0), params, classes=flare.get_config()["classes"])
            if not len(labels):
                return params  # partial_fit wants rows
            return get_params(estimator.partial_fit(rows, labels), classes=flare.get_config()["classes"])
        """,
    ),
    "FedAvgLrRecipe": (
        {"num_features": 3},
        """
        def step(params):
            return newton_sums(params["weights"], rows, labels)
        """,
    ),
    "KMeansFedAvgRecipe": (
        {"n_clusters": 2},
        """
        def step(params):
            return kmeans_step(params, rows)
        """,
    ),
    "SVMFedAvgRecipe": (
        {"kernel": "linear"},
        """
        def step(params):
            return svm_step(params, rows, labels, **flare.get_config()["svc"])
        """,
    ),
}

SCRIPT = """
    import sys

    import numpy as np
    from sklearn.linear_model import SGDClassifier

    import flare_core.client as flare
    from flare_recipes_sklearn import get_params, kmeans_step, newton_sums, set_params, svm_step

    flare.init()
    site = flare.get_site_name()
    if "--die" in sys.argv and site == "site-2":
        raise ValueError("this site has no luck")
    data = np.load(f"{sys.argv[1]}/{site}.npz")
    rows, labels = data["rows"], data["labels"]

    {step}
    while flare.is_running():
        params = step(flare.receive().params)
        meta = {"NUM_STEPS_CURRENT_ROUND": len(labels)}
        flare.send(flare.FLModel(params=params, metrics={"rows": float(len(labels))}, meta=meta))
"""


@pytest.fixture
def make(project):
    """Create a recipe by name, after giving each site its rows: 60 samples, or the selected ones among them."""
    import flare_recipes_sklearn

    table, labels = datasets.load_breast_cancer(return_X_y=True)
    table = table[:, [RADIUS, TEXTURE, SMOOTHNESS]]
    table = (table - table.mean(axis=0)) / table.std(axis=0)

    def build(name, *words, second=None, **arguments):
        for site, rows in {"site-1": slice(0, 60), "site-2": slice(60, 120) if second is None else second}.items():
            np.savez(project.folder / f"{site}.npz", rows=table[rows], labels=labels[rows])
        settings, step = RECIPES[name]
        script = project.write("client.py", textwrap.dedent(SCRIPT).replace("{step}", textwrap.dedent(step)))
        values = {"min_clients": 2, "num_rounds": 3, **settings, **arguments}
        train_args = [str(project.folder), *words]
        return getattr(flare_recipes_sklearn, name)(train_script=script, train_args=train_args, **values)

    def check(outcome, rows):
        """Check that the model classifies most samples correctly or, without labels, is the mean of all rows."""
        params = outcome.params
        if "centers" in params:
            assert np.isfinite(params["centers"]).all()
            assert params["counts"].min() > 0
            assert params["counts"].sum() == 2 * rows  # in each round after the one that finds the starting point
            return
        if "support_x" in params:
            from flare_recipes_sklearn import svm_of

            found = svm_of(params, kernel="linear").predict(table)
        elif "weights" in params:
            found = table @ params["weights"][:-1] + params["weights"][-1] > 0
        else:
            found = table @ params["coef_"][0] + params["intercept_"][0] > 0
        assert (found == labels).mean() > 0.8

    build.healthy = np.flatnonzero(labels == 1)[:60]
    build.check = check
    return build


@pytest.mark.parametrize("name", RECIPES)
def test_one_site_is_enough(make, project, name):
    make.check(project.outcome(make(name, min_clients=1), 1), rows=60)


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_that_dies_is_named(make, project, name):
    with pytest.raises(JobFailed, match="site-2") as caught:
        project.outcome(make(name, "--die"))
    assert "this site has no luck" in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_with_rows_of_one_class_takes_part(make, project, name):
    outcome = project.outcome(make(name, second=make.healthy))
    assert outcome.measured("site-2")
    make.check(outcome, rows=120)


@pytest.mark.parametrize("name", RECIPES)
def test_a_site_without_rows_takes_part_and_changes_nothing(make, project, name):
    outcome = project.outcome(make(name, second=slice(0, 0)))
    assert outcome.measured("site-2")
    assert outcome.models == project.outcome(make(name, min_clients=1), 1).models


@pytest.mark.at_length
def test_every_recipe_gives_the_same_result_in_the_simulator_and_across_processes(make, project, hospital):
    place = hospital()
    for name in RECIPES:
        recipe = make(name)
        assert place.outcome(recipe.job()) == project.outcome(recipe), name
