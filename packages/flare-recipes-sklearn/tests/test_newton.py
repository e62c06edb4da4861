"""Federated Newton-Raphson compared with maximum likelihood on the pooled rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from flare_core import FLModel, JobFailed, ModelError, RecipeError, Reply
from flare_recipes_sklearn import FedAvgLrRecipe, logistic_probabilities, newton_sums
from flare_recipes_sklearn.newton import NewtonStep

SCRIPT = """
    import numpy as np
    import flare_core.client as flare
    from flare_recipes_sklearn import newton_sums

    flare.init()
    data = np.load({folder!r} + "/" + flare.get_site_name() + ".npz")
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params=newton_sums(model.params["weights"], data["rows"], data["labels"])))
"""


@pytest.fixture
def federation(model_from_sites):
    """Return a function that runs the recipe with the given rows and labels at the sites, and returns the weights."""

    def run(*sites, **arguments):
        arrays = [{"rows": rows, "labels": labels} for rows, labels in sites]
        return model_from_sites(FedAvgLrRecipe, SCRIPT, arrays, **arguments)["weights"]

    return run


def patients(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return three features on very different scales, and random labels that depend on them."""
    generator = np.random.default_rng(5)
    table = generator.normal(size=(rows, 3))
    chance = 1 / (1 + np.exp(-(table @ [1.0, -2.0, 0.5] + 0.3)))
    return table * [1.0, 1e-4, 1e4] + [0.0, 0.0, 2e4], (generator.random(rows) < chance).astype(int)


def test_the_result_is_the_maximum_likelihood_estimate_of_the_pooled_rows(federation):
    rows, labels = patients()
    order = np.argsort(labels, kind="stable")
    rows, labels = rows[order], labels[order]
    parts = [slice(0, 40), slice(40, 300), slice(300, 300)]  # only label 0, both labels, no rows
    assert set(labels[parts[0]]) == {0}
    weights = federation(
        *((rows[part], labels[part]) for part in parts), num_features=3, damping_factor=1, num_rounds=9
    )
    # The oracle needs standardized features, since its stopping rule depends on their scale.
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    oracle = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12).fit((rows - mean) / scale, labels)
    coefficients = oracle.coef_[0] / scale
    np.testing.assert_allclose(weights[:-1], coefficients, rtol=1e-8)
    np.testing.assert_allclose(weights[-1], oracle.intercept_[0] - coefficients @ mean, rtol=1e-8)


def test_damping_shortens_the_step():
    rows, labels = patients()
    whole, part = (one_round(newton_sums(np.zeros(4), rows, labels), factor) for factor in (1.0, 0.25))
    np.testing.assert_allclose(part, 0.25 * whole, rtol=1e-12)


def test_the_sums_are_the_derivatives_of_the_log_likelihood():
    rows, labels = np.random.default_rng(1).normal(size=(20, 2)), np.arange(20) % 2
    weights, step = np.array([0.3, -0.7, 0.2]), 1e-5

    def log_likelihood(at):
        chance = logistic_probabilities(at, rows)
        return np.log(np.where(labels == 1, chance, 1 - chance)).sum()

    sums = newton_sums(weights, rows, labels)
    for index, direction in enumerate(np.eye(3) * step):
        slope = (log_likelihood(weights + direction) - log_likelihood(weights - direction)) / (2 * step)
        assert sums["gradient"][index] == pytest.approx(slope, abs=1e-7)
        upper, lower = (newton_sums(weights + sign * direction, rows, labels)["gradient"] for sign in (1, -1))
        np.testing.assert_allclose(sums["hessian"][index], -(upper - lower) / (2 * step), atol=1e-7)


def one_round(sums, damping_factor=1.0):
    model = FLModel(params={"weights": np.zeros(len(sums["gradient"]))})
    newton = NewtonStep(damping_factor)
    newton.add(Reply("site-1", "train", FLModel(params=sums)))
    return newton.update(model).params["weights"]


@pytest.mark.parametrize(
    ("column", "message"),
    [(np.zeros(10), r"the features \[1\] are zero in all rows"), (np.ones(10), "singular, so there is no Newton step")],
)
def test_the_error_for_a_singular_hessian_names_zero_features(column, message):
    rows = np.column_stack([np.arange(10.0), column])
    with pytest.raises(ModelError, match=message):
        one_round(newton_sums(np.zeros(3), rows, np.arange(10) % 2))


def test_a_federation_without_rows_is_an_error(federation):
    nothing = (np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(JobFailed, match="singular"):
        federation(nothing, nothing, num_features=2)


def test_invalid_labels_and_features_are_refused():
    with pytest.raises(ModelError, match=r"the labels are \[1, 2\]"):
        newton_sums(np.zeros(2), [[1.0], [2.0]], [1, 2])
    with pytest.raises(ModelError, match="the rows have 1 features"):
        newton_sums(np.zeros(5), [[1.0]], [1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"damping_factor": 0}, "damping_factor is 0"),
        ({"num_features": 2, "initial_model": [0.0, 1.0]}, r"'weights' has shape \(2,\); give one of shape \(3,\)"),
    ],
)
def test_errors_name_invalid_arguments(tmp_path, arguments, message):
    (tmp_path / "client.py").write_text("")
    with pytest.raises(RecipeError, match=message):
        FedAvgLrRecipe(min_clients=2, train_script=tmp_path / "client.py", **arguments)
