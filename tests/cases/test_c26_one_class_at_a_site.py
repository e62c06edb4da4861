"""C26: a site with rows of one class only, or with fewer rows than clusters, still takes part."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.datasets import make_blobs

from flare_recipes_sklearn import FedAvgRecipe, KMeansFedAvgRecipe

CLASSES_OF_SITES = {3: ([0], [0, 1, 2], [1, 2]), 2: ([0], [0, 1], [1])}

LINEAR = """
    import sys

    import numpy as np
    from sklearn.linear_model import SGDClassifier

    import flare_core.client as flare
    from flare_recipes_sklearn import get_params, set_params

    flare.init()
    data = np.load(sys.argv[1] + "/" + flare.get_site_name() + ".npz")
    rows, labels = data["rows"], data["labels"]
    classes = flare.get_config()["classes"]
    estimator = SGDClassifier(random_state=0)
    while flare.is_running():
        set_params(estimator, flare.receive().params, classes=classes)
        estimator.partial_fit(rows, labels)
        params = get_params(estimator, classes=classes)
        flare.send(flare.FLModel(params=params, metrics={"rows": float(len(params["coef_"]))}))
"""

KMEANS = """
    import sys

    import numpy as np

    import flare_core.client as flare
    from flare_recipes_sklearn import kmeans_step

    flare.init()
    rows = np.load(sys.argv[1] + "/" + flare.get_site_name() + ".npz")["rows"]
    while flare.is_running():
        flare.send(flare.FLModel(params=kmeans_step(flare.receive().params, rows)))
"""


@pytest.mark.parametrize("count", [3, 2])
def test_coefficients_have_the_recipes_classes_at_every_site(project, count):
    rows, labels = make_blobs(120, n_features=4, centers=count, random_state=4)
    for number, classes in enumerate(CLASSES_OF_SITES[count], 1):
        own = np.isin(labels, classes)
        np.savez(project.folder / f"site-{number}.npz", rows=rows[own], labels=labels[own])
    script = project.write("client.py", LINEAR)
    recipe = FedAvgRecipe(
        min_clients=3,
        num_rounds=5,
        classes=range(count),
        num_features=4,
        train_script=script,
        train_args=[str(project.folder)],
    )
    model = recipe.execute(project.env(num_clients=3)).load_model()
    assert model["coef_"].shape == ((3, 4) if count == 3 else (1, 4))
    scores = rows @ model["coef_"].T + model["intercept_"]
    predicted = scores.argmax(axis=1) if count == 3 else (scores[:, 0] > 0).astype(int)
    assert (predicted == labels).mean() > 0.95  # blobs that hardly touch: the classes are not mixed up


def test_k_means_with_two_rows_at_a_site_and_three_clusters(project):
    rows = make_blobs(32, n_features=2, centers=[[0, 0], [10, 0], [0, 10]], cluster_std=0.5, random_state=0)[0]
    np.savez(project.folder / "site-1.npz", rows=rows[:2])
    np.savez(project.folder / "site-2.npz", rows=rows[2:])
    script = project.write("client.py", KMEANS)
    recipe = KMeansFedAvgRecipe(
        min_clients=2, num_rounds=2, n_clusters=3, train_script=script, train_args=[str(project.folder)]
    )
    model = recipe.execute(project.env(num_clients=2)).load_model()
    nearest = np.linalg.norm(rows[:, np.newaxis] - model["centers"], axis=2).argmin(axis=1)
    means = np.array([rows[nearest == index].mean(axis=0) for index in range(3)])
    np.testing.assert_allclose(model["centers"], means, rtol=1e-12)  # of all rows of both sites, each counted once
    assert model["counts"].tolist() == np.bincount(nearest).tolist()
