"""Federated support vector machines compared with one trained on the pooled rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, make_blobs
from sklearn.svm import SVC

from flare_core import JobFailed, ModelError, RecipeError, ShapeMismatchError
from flare_recipes_sklearn import SVMFedAvgRecipe, svm_of, svm_step

SCRIPT = """
    import numpy as np
    import flare_core.client as flare
    from flare_recipes_sklearn import svm_step

    flare.init()
    data = np.load({folder!r} + "/" + flare.get_site_name() + ".npz")
    while flare.is_running():
        model = flare.receive()
        params = svm_step(model.params, data["rows"], data["labels"], **flare.get_config()["svc"])
        flare.send(flare.FLModel(params=params))
"""


@pytest.fixture
def federation(model_from_sites):
    """Return a function that runs the recipe with the given rows and labels at the sites, and returns the model."""

    def run(*sites, **arguments):
        arrays = [{"rows": rows, "labels": labels} for rows, labels in sites]
        return model_from_sites(SVMFedAvgRecipe, SCRIPT, arrays, **arguments)

    return run


def cancer() -> tuple[np.ndarray, np.ndarray]:
    rows, labels = load_breast_cancer(return_X_y=True)
    return (rows - rows.mean(axis=0)) / rows.std(axis=0), labels


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_rounds_converge_to_the_machine_of_the_pooled_rows(federation, kernel):
    rows, labels = cancer()
    parts = [slice(0, 100), slice(100, 300), slice(300, 569)]
    model = federation(*((rows[part], labels[part]) for part in parts), kernel=kernel, num_rounds=5)
    found = svm_of(model, kernel=kernel)
    oracle = SVC(kernel=kernel, gamma="auto", tol=1e-5).fit(rows, labels)
    # Both stop when the optimality conditions hold to 1e-5.
    np.testing.assert_allclose(found.decision_function(rows), oracle.decision_function(rows), atol=1e-3)
    assert len(model["support_x"]) == len(oracle.support_)
    assert model["support_y"].dtype == labels.dtype


def test_sites_with_one_class_or_no_rows_can_take_part(federation):
    rows, labels = make_blobs(150, n_features=2, centers=3, cluster_std=2.0, random_state=1)
    one, rest = labels == 0, labels != 0
    mixed = slice(0, 40)
    model = federation(
        (rows[one], labels[one]), (rows[mixed], labels[mixed]), (rows[:0], labels[:0]), (rows[rest], labels[rest]),
        num_rounds=6,
    )  # fmt: skip
    oracle = SVC(gamma="auto", tol=1e-5).fit(rows, labels)
    np.testing.assert_allclose(svm_of(model).decision_function(rows), oracle.decision_function(rows), atol=1e-3)


def test_at_least_one_site_needs_rows_of_two_classes(federation):
    with pytest.raises(JobFailed, match=r"none of the sites \(site-1, site-2\) has rows of two classes"):
        federation((np.ones((4, 2)), np.zeros(4)), (np.zeros((4, 2)), np.ones(4)))


def test_invalid_rows_and_labels_are_refused():
    received = {"support_x": np.ones((2, 3)), "support_y": np.arange(2)}
    with pytest.raises(ShapeMismatchError, match=r"the model has rows of shape \(2, 3\)"):
        svm_step(received, np.ones((4, 2)), np.zeros(4))
    with pytest.raises(ModelError, match=r"labels are int64 of shape \(3,\) for 4 rows"):
        svm_step({}, np.ones((4, 2)), np.arange(3))
    with pytest.raises(ModelError, match="give one number per row, not text"):
        svm_step({}, np.ones((2, 2)), np.array(["a", "b"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "precomputed"}, "kernel is 'precomputed'; choose one of linear, poly, rbf, sigmoid"),
        ({"C": 0}, "C is 0; give a number above 0"),
        ({"gamma": "scale"}, "gamma is 'scale'; give a number above 0, or 'auto'"),
        ({"initial_model": {"support_x": np.ones((3, 2))}}, "has no 'support_y'"),
    ],
)
def test_errors_name_invalid_arguments(tmp_path, arguments, message):
    (tmp_path / "client.py").write_text("")
    with pytest.raises(RecipeError, match=message):
        SVMFedAvgRecipe(min_clients=2, train_script=tmp_path / "client.py", **arguments)
