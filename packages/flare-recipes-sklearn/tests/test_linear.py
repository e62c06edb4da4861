"""Linear models: exchanging coefficients, and federated averaging compared with central training."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.svm import LinearSVC

from flare_core import JobFailed, ModelError, ModelTypeError, ParamsType, RecipeError
from flare_recipes_sklearn import FedAvgRecipe, get_params, set_params
from flare_tensor_downloader import read_file

ROWS, LABELS = load_iris(return_X_y=True)

SCRIPT = """
    import numpy as np
    from sklearn.linear_model import SGDClassifier
    import flare_core.client as flare
    from flare_recipes_sklearn import get_params, set_params

    flare.init()
    classes = flare.get_config()["classes"]
    data = np.load({folder!r} + "/" + flare.get_site_name() + ".npz")
    estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0, shuffle=False)
    while flare.is_running():
        model = flare.receive()
        set_params(estimator, model.params, classes=classes)
        accuracy = estimator.score(data["rows"], data["labels"])
        estimator.partial_fit(data["rows"], data["labels"])
        flare.send(flare.FLModel(
            params=get_params(estimator, classes=classes),
            metrics={{"accuracy": accuracy}},
            meta={{"NUM_STEPS_CURRENT_ROUND": len(data["rows"])}},
        ))
"""


@pytest.fixture
def federation(model_from_sites):
    """Return a function that runs the recipe with the given rows and labels at the sites, and returns the model."""

    def run(*sites, **arguments):
        arrays = [{"rows": rows, "labels": labels} for rows, labels in sites]
        return model_from_sites(FedAvgRecipe, SCRIPT, arrays, **arguments)

    return run


def make(tmp_path, **arguments) -> FedAvgRecipe:
    (tmp_path / "client.py").write_text("")
    return FedAvgRecipe(min_clients=1, train_script=tmp_path / "client.py", **arguments)


def test_one_site_trains_like_scikit_learn_itself(federation):
    model = federation((ROWS, LABELS), classes=[0, 1, 2], num_features=4, num_rounds=5)
    oracle = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0, shuffle=False)
    for _ in range(5):
        oracle.partial_fit(ROWS, LABELS, classes=[0, 1, 2])
    np.testing.assert_allclose(model["coef_"], oracle.coef_, rtol=1e-12)
    np.testing.assert_allclose(model["intercept_"], oracle.intercept_, rtol=1e-12)


@pytest.mark.parametrize("transfer", list(ParamsType))
def test_a_round_is_the_weighted_mean_of_the_sites_models(federation, transfer):
    parts = [slice(0, 30), slice(30, 150)]
    sites = [(ROWS[part], LABELS[part]) for part in parts]
    model = federation(*sites, classes=[0, 1, 2], num_features=4, num_rounds=1, params_transfer_type=transfer)
    trained = []
    for part in parts:
        each = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01, random_state=0, shuffle=False)
        trained.append(each.partial_fit(ROWS[part], LABELS[part], classes=[0, 1, 2]).coef_)
    np.testing.assert_allclose(model["coef_"], (30 * trained[0] + 120 * trained[1]) / 150, rtol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [SGDClassifier(), Perceptron(), LogisticRegression(max_iter=500), LinearSVC(), LinearRegression(), SGDRegressor()],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("classes", [2, 3])
def test_an_estimator_predicts_the_same_with_the_params_of_another(estimator, classes):
    rows, labels = ROWS[: 50 * classes], LABELS[: 50 * classes]
    params = get_params(estimator.fit(rows, labels))
    other = set_params(type(estimator)(), params, classes=range(classes))
    np.testing.assert_array_equal(other.predict(rows), estimator.predict(rows))
    estimator.coef_[:] = 0
    assert other.coef_.any()  # copies


@pytest.mark.parametrize(
    ("estimator", "classes", "shapes"),
    [
        (SGDClassifier(), [0, 1, 2], ((3, 4), (3,))),
        (LogisticRegression(), ["b", "a"], ((1, 4), (1,))),
        (SGDRegressor(), None, ((4,), (1,))),
        (LinearRegression(), None, ((4,), ())),
        (None, [0, 1, 2], ((3, 4), (3,))),
    ],
)
def test_an_unfitted_estimator_starts_from_zeros_of_its_shapes(tmp_path, estimator, classes, shapes):
    made = make(tmp_path, initial_model=estimator, classes=classes, num_features=4)
    initial = read_file(made._initial_file)
    assert (initial["coef_"].shape, initial["intercept_"].shape) == shapes
    assert made.job().client.config == ({} if classes is None else {"classes": sorted(classes)})


def test_a_fitted_estimator_supplies_its_classes(tmp_path):
    fitted = LogisticRegression(max_iter=500).fit(ROWS, LABELS)
    made = make(tmp_path, initial_model=fitted)
    np.testing.assert_array_equal(read_file(made._initial_file)["coef_"], fitted.coef_)
    assert made.job().client.config["classes"] == [0, 1, 2]


def test_coefficients_that_cannot_be_exchanged_are_refused():
    fitted = LogisticRegression(max_iter=500).fit(ROWS[:100], LABELS[:100])
    with pytest.raises(ModelError, match=r"classes \[0, 1\], but the recipe's are \[0, 1, 2\]"):
        get_params(fitted, classes=[0, 1, 2])
    with pytest.raises(ModelError, match="no coefficients yet"):
        get_params(LogisticRegression())
    with pytest.raises(ModelError, match="knows no classes"):
        set_params(SGDClassifier(), get_params(fitted))
    with pytest.raises(ModelError, match="RidgeClassifier cannot be given its classes"):
        set_params(RidgeClassifier(), get_params(fitted), classes=[0, 1])
    with pytest.raises(ModelError, match="averages that are not exchanged"):
        set_params(SGDClassifier(average=True), get_params(fitted), classes=[0, 1])
    with pytest.raises(ModelError, match=r"'coef_' has shape \(1, 4\), but the 3 classes"):
        set_params(SGDClassifier(), get_params(fitted), classes=[0, 1, 2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, RecipeError, "give initial_model or initial_ckpt"),
        ({"initial_model": SGDClassifier()}, RecipeError, "give num_features and classes"),
        ({"initial_model": SGDRegressor()}, RecipeError, "not fitted; give num_features,"),
        ({"initial_model": RandomForestClassifier()}, ModelTypeError, "no coefficients to average"),
        (
            {"classes": [0, 1], "num_features": 4, "per_site_config": {"a": {"config": {"classes": [0]}}}},
            RecipeError,
            r"per_site_config\['a'\]: config has an entry 'classes'",
        ),
        ({"classes": [1], "num_features": 4}, RecipeError, r"classes is \[1\]"),
        ({"initial_model": {"coef_": np.ones((2, 4))}}, RecipeError, "has no 'intercept_'"),
        (
            {"initial_model": {"coef_": np.ones((2, 4)), "intercept_": np.ones(2)}, "classes": [0, 1]},
            RecipeError,
            r"'coef_' has shape \(2, 4\); give one of shape \(1, any\)",
        ),
    ],
)
def test_errors_name_invalid_arguments(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        make(tmp_path, **arguments)


REFITS = """
    import numpy as np
    from sklearn.linear_model import SGDClassifier
    import flare_core.client as flare
    from flare_recipes_sklearn import get_params, set_params

    flare.init()
    data = np.load({folder!r} + "/" + flare.get_site_name() + ".npz")
    estimator = SGDClassifier(random_state=0, max_iter=1, tol=None)
    while flare.is_running():
        set_params(estimator, flare.receive().params, classes=flare.get_config()["classes"])
        estimator.fit(data["rows"], data["labels"])
        flare.send(flare.FLModel(params=get_params(estimator)))
"""


def test_training_that_discards_the_received_model_is_an_error(model_from_sites):
    with pytest.raises(JobFailed, match=r"fit of SGDClassifier .*discarded the received coefficients.*partial_fit"):
        model_from_sites(
            FedAvgRecipe, REFITS, [{"rows": ROWS, "labels": LABELS}], classes=[0, 1, 2], num_features=4, num_rounds=2
        )


RECEIVED = {"coef_": np.full((1, 4), 5.0), "intercept_": np.full(1, 7.0)}
TWO = LABELS < 2


@pytest.mark.parametrize(
    ("estimator", "train"),
    [
        (SGDClassifier(random_state=0), "fit"),
        (SGDClassifier(random_state=0), "partial_fit"),
        (SGDClassifier(random_state=0, warm_start=True), "fit"),
        (Perceptron(random_state=0), "fit"),
        (Perceptron(random_state=0), "partial_fit"),
        (LogisticRegression(max_iter=3), "fit"),
        (LogisticRegression(max_iter=3, warm_start=True), "fit"),
        (LogisticRegression(warm_start=True, solver="liblinear"), "fit"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # three steps do not converge
def test_coefficients_are_sent_only_if_they_depend_on_the_received_ones(estimator, train):
    trained = []
    for start in (RECEIVED, {name: -value for name, value in RECEIVED.items()}):
        each = set_params(clone(estimator), start, classes=[0, 1])
        getattr(each, train)(ROWS[TWO], LABELS[TWO])
        trained.append(each)
    if np.array_equal(trained[0].coef_, trained[1].coef_):
        with pytest.raises(ModelError, match="discarded the received coefficients"):
            get_params(trained[0])
    else:
        np.testing.assert_array_equal(get_params(trained[0])["coef_"], trained[0].coef_)


def test_an_estimator_that_cannot_continue_training_is_averaged_anyway():
    received = {"coef_": np.ones(4), "intercept_": np.array(0.0)}
    ridge = set_params(Ridge(), received).fit(ROWS, LABELS)
    np.testing.assert_array_equal(get_params(ridge)["coef_"], ridge.coef_)


def test_an_integer_initial_model_does_not_round_the_mean(federation):
    start = {"coef_": [[0] * 4] * 3, "intercept_": [0, 0, 0]}
    model = federation((ROWS, LABELS), classes=[0, 1, 2], initial_model=start, num_rounds=1)
    assert model["coef_"].dtype == np.float64
    assert np.abs(model["coef_"] - np.round(model["coef_"])).max() > 0.01


def test_an_outlier_detector_is_refused():
    fitted = SGDOneClassSVM(random_state=0).fit(ROWS)
    with pytest.raises(ModelError, match="SGDOneClassSVM is neither a classifier nor a regressor"):
        set_params(fitted, {"coef_": fitted.coef_, "intercept_": 1 - fitted.offset_})


def test_sparse_coefficients_are_sent_as_arrays():
    fitted = SGDClassifier(random_state=0).fit(ROWS, LABELS)
    wanted = fitted.coef_.copy()
    np.testing.assert_array_equal(get_params(fitted.sparsify())["coef_"], wanted)
