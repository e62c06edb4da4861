"""Federated k-means compared with scikit-learn on the pooled rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import make_blobs

from flare_core import FLModel, JobFailed, RecipeError, Reply
from flare_recipes_sklearn import KMeansFedAvgRecipe, kmeans_step
from flare_recipes_sklearn.kmeans import KMeansUpdate

SCRIPT = """
    import numpy as np
    import flare_core.client as flare
    from flare_recipes_sklearn import kmeans_step

    flare.init()
    rows = np.load({folder!r} + "/" + flare.get_site_name() + ".npz")["rows"]
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params=kmeans_step(model.params, rows)))
"""


@pytest.fixture
def federation(model_from_sites):
    """Return a function that runs the recipe with the given rows at the sites, and returns the model."""

    def run(*sites, **arguments):
        arrays = [{"rows": rows} for rows in sites]
        return model_from_sites(KMeansFedAvgRecipe, SCRIPT, arrays, **arguments)

    return run


def blobs(rows: int) -> np.ndarray:
    return make_blobs(rows, n_features=4, centers=3, cluster_std=0.5, random_state=7)[0]


def test_rounds_match_mini_batch_k_means_on_the_pooled_rows(federation):
    rows = blobs(90)
    start = rows[:3] + 0.1
    model = federation(rows[:20], rows[20:50], rows[50:], initial_model=start, num_rounds=4)
    oracle = MiniBatchKMeans(3, init=start, n_init=1, reassignment_ratio=0, random_state=0)
    for _ in range(4):
        oracle.partial_fit(rows)
    np.testing.assert_allclose(model["centers"], oracle.cluster_centers_, rtol=1e-12)
    assert model["counts"].sum() == 4 * 90


def test_sites_with_few_or_no_rows_can_take_part(federation):
    rows = blobs(32)
    model = federation(rows[:2], rows[2:], rows[:0], n_clusters=3, num_rounds=4)
    assert np.isfinite(model["centers"]).all()
    assert model["centers"].shape == (3, 4)
    truth = make_blobs(32, n_features=4, centers=3, cluster_std=0.5, random_state=7, return_centers=True)[2]
    distance = np.linalg.norm(model["centers"][:, None] - truth, axis=2).min(axis=0)
    assert distance.max() < 0.5  # the mean of ten rows has a standard deviation of 0.16 in each direction
    assert model["counts"].sum() == 3 * 32  # the first round only proposes


def test_the_error_for_too_few_distinct_rows_counts_them_by_site(federation):
    with pytest.raises(JobFailed, match=r"2 distinct centres .*site-1 1, site-2 1.* n_clusters is 3"):
        federation(np.ones((5, 2)), np.zeros((9, 2)), n_clusters=3)


def test_a_centre_without_rows_stays_in_place():
    model = FLModel(params={"centers": np.array([[0.0], [100.0]]), "counts": np.array([0, 0])})
    update = KMeansUpdate(2)
    update.add(Reply("site-1", "train", FLModel(params=kmeans_step(model.params, [[1.0], [3.0]]))))
    following = update.update(model).params
    assert following["centers"].tolist() == [[2.0], [100.0]]
    assert following["counts"].tolist() == [2, 0]


def test_the_order_of_arrival_does_not_matter():
    rows, model = blobs(60), FLModel(params={"counts": np.zeros(3, np.int64)})
    found = []
    for order in ([0, 1, 2], [2, 0, 1]):
        update = KMeansUpdate(3)
        for site in order:
            part = kmeans_step(model.params, rows[site * 20 : site * 20 + 20])
            update.add(Reply(f"site-{site}", "train", FLModel(params=part)))
        found.append(update.update(model).params["centers"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": 0}, "n_clusters is 0"),
        ({"initial_model": np.zeros((2, 4))}, r"'centers' has shape \(2, 4\); give one of shape \(3, any\)"),
        ({"params_transfer_type": "DIFF"}, "params_transfer_type is 'DIFF'"),
        ({"per_site_config": {"site-1": {"params_transfer_type": "DIFF"}}}, r"per_site_config\['site-1'\]"),
        ({"aggregation_weights": {"site-1": 2.0}}, "aggregation_weights"),
    ],
)
def test_errors_name_invalid_arguments(tmp_path, arguments, message):
    (tmp_path / "client.py").write_text("")
    with pytest.raises(RecipeError, match=message):
        KMeansFedAvgRecipe(min_clients=2, train_script=tmp_path / "client.py", **arguments)
