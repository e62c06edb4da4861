"""Federated averaging of scikit-learn's linear models.

Sites and server exchange ``coef_`` and ``intercept_``. Every site holds the coefficients of all classes in the same
order, even of classes it has no rows of: (n_classes, d), or (1, d) for two classes, or (d,) for a regression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV

from flare_core import ModelError, ModelTypeError, RecipeError
from flare_core.recipe import check_count
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_recipes_sklearn.model import SklearnModel, check_shape
from flare_recipes_sklearn.sums import Array

Estimator = TypeVar("Estimator", bound=BaseEstimator)

_RECEIVED = "_flare_received"
"""The attribute that holds the coefficients which :func:`set_params` gave to an estimator."""


def get_params(estimator: BaseEstimator, *, classes: Sequence[Any] | None = None) -> dict[str, Array]:
    """Return copies of a linear estimator's ``coef_`` and ``intercept_``, to send as ``params``.

    Args:
        estimator: a fitted estimator, or one with coefficients from :func:`set_params`.
        classes: the recipe's classes, to check that the coefficients belong to them.
    Raises:
        ModelError: the estimator has no coefficients yet, or those of other classes, or ``fit`` started over instead of
            continuing from those of :func:`set_params`.
    """
    if not hasattr(estimator, "coef_") or not hasattr(estimator, "intercept_"):
        raise ModelError(
            f"{type(estimator).__name__} has no coefficients yet; call set_params(estimator, model.params) or fit it"
        )
    if classes is not None:
        wanted, found = np.unique(classes), np.asarray(estimator.classes_)
        if not np.array_equal(wanted, found):
            raise ModelError(
                f"{type(estimator).__name__} was fitted with the classes {found.tolist()}, but the recipe's are"
                f" {wanted.tolist()}; train with partial_fit after set_params, since fit drops classes that have no"
                " rows at this site"
            )
    _check_continued(estimator)
    coefficients = estimator.coef_
    if hasattr(coefficients, "toarray"):  # sparsify() was called
        coefficients = coefficients.toarray()
    return {"coef_": np.array(coefficients), "intercept_": np.array(estimator.intercept_)}


def _check_continued(estimator: BaseEstimator) -> None:
    """Refuse coefficients that do not depend on the received ones, since every round would repeat the first.

    ``partial_fit`` updates the arrays of :func:`set_params` in place, ``fit`` creates new ones. Estimators that cannot
    continue at all (``Ridge``, ``LinearSVC``) are accepted; for them, further rounds change nothing.
    """
    received = getattr(estimator, _RECEIVED, None)
    if received is None or estimator.coef_ is received or np.shares_memory(_dense(estimator.coef_), received):
        return
    name, has_partial_fit = type(estimator).__name__, hasattr(estimator, "partial_fit")
    if getattr(estimator, "solver", None) == "liblinear":
        remedy = "the solver 'liblinear' always does; use another solver and warm_start=True"
    elif getattr(estimator, "warm_start", None) is False:
        remedy = f"use {name}(warm_start=True)" + (" or train with partial_fit" if has_partial_fit else "")
    else:
        return
    raise ModelError(
        f"fit of {name} started over and discarded the received coefficients, so each round would only repeat the"
        f" first; {remedy}"
    )


def _dense(coefficients: Any) -> Array:
    return coefficients.data if hasattr(coefficients, "toarray") else np.asarray(coefficients)


def set_params(estimator: Estimator, params: Mapping[str, Any], *, classes: Sequence[Any] | None = None) -> Estimator:
    """Give a linear estimator, fitted or not, the received coefficients, and return it.

    It can then predict, and train with ``partial_fit`` on rows of any of the classes, even of a single one.

    Args:
        estimator: changed in place.
        params: ``coef_`` and ``intercept_``; copied.
        classes: the recipe's classes, ``flare.get_config()["classes"]``; required by a classifier that is not fitted.
    Raises:
        ModelError: the shapes do not fit the classes, or the estimator's model is more than coefficients, such as
            averages over steps or the offset of an outlier detector.
    """
    name = type(estimator).__name__
    if not is_classifier(estimator) and not is_regressor(estimator):
        raise ModelError(f"{name} is neither a classifier nor a regressor; its coefficients alone are not a model")
    if getattr(estimator, "average", False):
        raise ModelError(f"{name}(average=...) keeps averages that are not exchanged; omit average")
    coefficients, intercept = np.array(params["coef_"], order="C"), np.array(params["intercept_"])
    if is_classifier(estimator):
        if classes is None:
            classes = getattr(estimator, "classes_", None)
        if classes is None:
            raise ModelError(f"{name} is not fitted and knows no classes; use set_params(..., classes=...)")
        if isinstance(estimator, RidgeClassifier | RidgeClassifierCV):  # predict uses private state that fit sets
            raise ModelError(f"{name} cannot be given its classes; use an SGDClassifier or a LogisticRegression")
        ordered = np.unique(classes)
        if coefficients.shape[:-1] != (_rows(len(ordered)),):
            raise ModelError(
                f"'coef_' has shape {coefficients.shape}, but the {len(ordered)} classes {ordered.tolist()} have"
                f" ({_rows(len(ordered))}, features)"
            )
        estimator.classes_ = ordered
    estimator.coef_ = coefficients
    setattr(estimator, _RECEIVED, coefficients)
    estimator.intercept_ = intercept if intercept.ndim else intercept[()]
    estimator.n_features_in_ = coefficients.shape[-1]
    return estimator


def _rows(classes: int) -> int:
    return 1 if classes == 2 else classes


@dataclass(kw_only=True, eq=False, repr=False)
class FedAvgRecipe(SklearnModel, BaseFedAvgRecipe):
    """Federated averaging of a linear model of scikit-learn, such as an ``SGDClassifier``.

    ``initial_model`` is a linear estimator, fitted or not, or a dict with ``coef_`` and ``intercept_``. An estimator
    that is not fitted starts from zeros and needs ``num_features``, and ``classes`` if it is a classifier; with both,
    ``initial_model`` may be omitted. Also accepts the arguments of the other packages' ``FedAvgRecipe``.

    Args:
        classes: the labels of all sites; scripts find them, in scikit-learn's order, in
            ``flare.get_config()["classes"]``. A fitted classifier supplies its own.
        num_features: number of features.

    Example:
        recipe = FedAvgRecipe(
            min_clients=2,
            num_rounds=5,
            train_script="linear_client.py",
            classes=[0, 1],
            num_features=2,
        )
    """

    name: str = "fedavg"
    classes: Sequence[Any] | None = None
    num_features: int | None = None

    def _check(self) -> None:
        if self.classes is not None:
            self.classes = _check_classes(self.classes)
        if self.num_features is not None:
            self.num_features = check_count(self.num_features, "num_features")
        super()._check()

    def _read_model(self, model: Any) -> Any:
        if model is None and self.initial_ckpt is None and self.classes is not None and self.num_features is not None:
            return self._zeros((_rows(len(self.classes)),), (_rows(len(self.classes)),))
        return model

    def _to_params(self, model: Any) -> dict[str, Any]:
        if not isinstance(model, BaseEstimator):
            return super()._to_params(model)
        name = type(model).__name__
        if not (hasattr(model, "coef_") or _is_linear(model)):
            raise ModelTypeError(f"initial_model is a {name}, which has no coefficients to average; use a linear model")
        if hasattr(model, "coef_"):
            if is_classifier(model) and self.classes is None:
                self.classes = _check_classes(model.classes_)
            return dict(get_params(model, classes=self.classes))
        if self.num_features is None or (is_classifier(model) and self.classes is None):
            what = "num_features and classes" if is_classifier(model) else "num_features"
            raise RecipeError(f"initial_model is a {name} that is not fitted; give {what}, to start from zeros")
        if is_classifier(model):
            rows = (_rows(len(self.classes or ())),)
            return self._zeros(rows, rows)
        return self._zeros((), (1,) if hasattr(model, "partial_fit") else ())

    def _zeros(self, rows: tuple[int, ...], intercepts: tuple[int, ...]) -> dict[str, Any]:
        return {"coef_": np.zeros((*rows, self.num_features or 0)), "intercept_": np.zeros(intercepts)}

    def _check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        for name in ("coef_", "intercept_"):
            if name not in params:
                raise RecipeError(f"the initial model has no '{name}'; give 'coef_' and 'intercept_'")
        # The mean has the dtype of the initial model, so integers would round it.
        params = {name: _to_float(value) for name, value in params.items()}
        features = np.shape(params["coef_"])[-1:]
        if self.classes is not None:
            check_shape(params, "coef_", (_rows(len(self.classes)), self.num_features))
            check_shape(params, "intercept_", (_rows(len(self.classes)),))
        elif self.num_features is not None and features != (self.num_features,):
            raise RecipeError(
                f"the initial model's 'coef_' has {features} features but num_features is {self.num_features}"
            )
        return params

    def _script_config(self) -> dict[str, Any]:
        return {} if self.classes is None else {"classes": list(self.classes)}


def _to_float(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def _check_classes(classes: Any) -> list[Any]:
    given = np.asarray(classes)
    ordered = np.unique(given)
    if given.ndim != 1 or len(ordered) != len(given) or len(ordered) < 2 or given.dtype.kind not in "iubfU":
        raise RecipeError(f"classes is {classes!r}; give at least two distinct labels, all numbers or all strings")
    return list(ordered.tolist())


def _is_linear(model: BaseEstimator) -> bool:
    modules = {cls.__module__.rpartition(".")[0] for cls in type(model).__mro__}
    names = {cls.__name__ for cls in type(model).__mro__}
    known = "sklearn.linear_model" in modules or bool(names & {"LinearSVC", "LinearSVR"})
    return known and (is_classifier(model) or is_regressor(model))
