"""Federated averaging of scikit-learn's linear models.

What travels are ``coef_`` and ``intercept_``. All sites have the coefficients of all classes, in the same order,
whichever of the classes a site has rows of: (n_classes, d), or (1, d) where there are two, or (d,) for a regression.
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
from flare_core.recipes import BaseFedAvgRecipe
from flare_recipes_sklearn.model import SklearnModel, check_shape
from flare_recipes_sklearn.sums import Array

__all__ = ["FedAvgRecipe", "get_params", "set_params"]

Estimator = TypeVar("Estimator", bound=BaseEstimator)

_RECEIVED = "_flare_received"
"""The attribute with the array of coefficients that an estimator was given."""


def get_params(estimator: BaseEstimator, *, classes: Sequence[Any] | None = None) -> dict[str, Array]:
    """Return a linear estimator's ``coef_`` and ``intercept_``, as copies to be sent as ``params``.

    Args:
        estimator: one that is fitted, or was given coefficients by :func:`set_params`.
        classes: those of the recipe, to be sure that the coefficients are theirs.
    Raises:
        ModelError: it has no coefficients yet, or those of other classes, or ``fit`` has begun anew instead of going on
            from those that :func:`set_params` gave it.
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
                f" {wanted.tolist()}; train with partial_fit after set_params, since fit forgets the classes that"
                " have no rows at this site"
            )
    _check_went_on(estimator)
    coefficients = estimator.coef_
    if hasattr(coefficients, "toarray"):  # sparsify() was called
        coefficients = coefficients.toarray()
    return {"coef_": np.array(coefficients), "intercept_": np.array(estimator.intercept_)}


def _check_went_on(estimator: BaseEstimator) -> None:
    """Refuse coefficients that do not depend on those received: every round would send the same.

    ``partial_fit`` goes on in the arrays that :func:`set_params` made, ``fit`` makes new ones. Estimators that can do
    nothing else (``Ridge``, ``LinearSVC``) are let through; for them, one round is all that there is.
    """
    received = getattr(estimator, _RECEIVED, None)
    if received is None or estimator.coef_ is received or np.shares_memory(_dense(estimator.coef_), received):
        return
    name, can_go_on = type(estimator).__name__, hasattr(estimator, "partial_fit")
    if getattr(estimator, "solver", None) == "liblinear":
        remedy = "its solver 'liblinear' always does; take another, and warm_start=True"
    elif getattr(estimator, "warm_start", None) is False:
        remedy = f"make it {name}(warm_start=True)" + (", or train with partial_fit" if can_go_on else "")
    else:
        return
    raise ModelError(
        f"fit of {name} has begun anew and forgotten the coefficients received, so each round would only repeat the"
        f" first: {remedy}"
    )


def _dense(coefficients: Any) -> Array:
    return coefficients.data if hasattr(coefficients, "toarray") else np.asarray(coefficients)


def set_params(estimator: Estimator, params: Mapping[str, Any], *, classes: Sequence[Any] | None = None) -> Estimator:
    """Give a linear estimator, fitted or not, the coefficients that were received, and return it.

    It can then predict, and learn with ``partial_fit`` from rows of any of the classes, of a single one, too.

    Args:
        estimator: changed in place.
        params: ``coef_`` and ``intercept_``; copied.
        classes: those of the recipe, ``flare.get_config()["classes"]``; a classifier that is not fitted needs them.
    Raises:
        ModelError: the shapes do not fit the classes, or there is more to its model than coefficients: averages over
            steps, or the offset of a detector of outliers.
    """
    name = type(estimator).__name__
    if not is_classifier(estimator) and not is_regressor(estimator):
        raise ModelError(f"{name} is neither a classifier nor a regressor; its coefficients alone are no model")
    if getattr(estimator, "average", False):
        raise ModelError(f"{name}(average=...) keeps averages that do not travel; leave average out")
    coefficients, intercept = np.array(params["coef_"], order="C"), np.array(params["intercept_"])
    if is_classifier(estimator):
        if classes is None:
            classes = getattr(estimator, "classes_", None)
        if classes is None:
            raise ModelError(f"{name} is not fitted and knows no classes; give set_params(..., classes=...)")
        if isinstance(estimator, RidgeClassifier | RidgeClassifierCV):  # predict with a private part that fit makes
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
    ``initial_model`` may be left out. Takes the arguments of the other packages' ``FedAvgRecipe`` too.

    Args:
        classes: the labels of all sites; scripts find them, sorted as scikit-learn does, in
            ``flare.get_config()["classes"]``. A fitted classifier has its own.
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
            self.classes = _checked_classes(self.classes)
        if self.num_features is not None:
            self.num_features = check_count(self.num_features, "num_features")
        super()._check()

    def _read_model(self, model: Any) -> Any:
        if model is None and self.initial_ckpt is None and self.classes is not None and self.num_features is not None:
            return self._zeros((_rows(len(self.classes)),), (_rows(len(self.classes)),))
        return model

    def _params_of(self, model: Any) -> dict[str, Any]:
        if not isinstance(model, BaseEstimator):
            return super()._params_of(model)
        name = type(model).__name__
        if not (hasattr(model, "coef_") or _is_linear(model)):
            raise ModelTypeError(f"initial_model is a {name}, which has no coefficients to average; give a linear one")
        if hasattr(model, "coef_"):
            if is_classifier(model) and self.classes is None:
                self.classes = _checked_classes(model.classes_)
            return dict(get_params(model, classes=self.classes))
        if self.num_features is None or (is_classifier(model) and self.classes is None):
            what = "num_features and classes" if is_classifier(model) else "num_features"
            raise RecipeError(f"initial_model is a {name} that is not fitted; give {what}, so that it can start from 0")
        if is_classifier(model):
            rows = (_rows(len(self.classes or ())),)
            return self._zeros(rows, rows)
        return self._zeros((), (1,) if hasattr(model, "partial_fit") else ())

    def _zeros(self, rows: tuple[int, ...], intercepts: tuple[int, ...]) -> dict[str, Any]:
        return {"coef_": np.zeros((*rows, self.num_features or 0)), "intercept_": np.zeros(intercepts)}

    def _checked_params(self, params: dict[str, Any]) -> dict[str, Any]:
        for name in ("coef_", "intercept_"):
            if name not in params:
                raise RecipeError(f"the initial model holds no '{name}'; give 'coef_' and 'intercept_'")
        # Whole numbers as a start would make those of the mean whole, too.
        params = {name: _real(value) for name, value in params.items()}
        features = np.shape(params["coef_"])[-1:]
        if self.classes is not None:
            check_shape(params, "coef_", (_rows(len(self.classes)), self.num_features))
            check_shape(params, "intercept_", (_rows(len(self.classes)),))
        elif self.num_features is not None and features != (self.num_features,):
            raise RecipeError(
                f"the initial model's 'coef_' has {features} features; num_features is {self.num_features}"
            )
        return params

    def _script_config(self) -> dict[str, Any]:
        return {} if self.classes is None else {"classes": list(self.classes)}


def _real(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "iub" else array


def _checked_classes(classes: Any) -> list[Any]:
    given = np.asarray(classes)
    ordered = np.unique(given)
    if given.ndim != 1 or len(ordered) != len(given) or len(ordered) < 2 or given.dtype.kind not in "iubfU":
        raise RecipeError(f"classes is {classes!r}; give two or more different labels, all numbers or all text")
    return list(ordered.tolist())


def _is_linear(model: BaseEstimator) -> bool:
    modules = {cls.__module__.rpartition(".")[0] for cls in type(model).__mro__}
    names = {cls.__name__ for cls in type(model).__mro__}
    known = "sklearn.linear_model" in modules or bool(names & {"LinearSVC", "LinearSVR"})
    return known and (is_classifier(model) or is_regressor(model))
