"""Federated logistic regression by the Newton-Raphson method.

The model is ``weights`` (d + 1,), float64: a coefficient for each feature, then the intercept. A site sends the
gradient and the negative Hessian of its rows' log-likelihood. Both are sums over rows, so the server's step equals that
on the pooled rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_array

from flare_core import ModelError, RecipeError
from flare_core.components import Component
from flare_core.recipe import check_count
from flare_recipes_sklearn.model import check_shape, numbers
from flare_recipes_sklearn.sums import Array, ServerRecipe, SiteArrays, check_site_shape


def logistic_probabilities(weights: Any, rows: Any) -> Array:
    """Return the probability of label 1 for each row.

    Args:
        weights: (d + 1,), the model's ``weights``.
        rows: (n, d).
    Raises:
        ModelError: rows and weights have different numbers of features.
    """
    table, vector = check_array(rows, dtype=np.float64, ensure_min_samples=0), np.asarray(weights, np.float64)
    if vector.shape != (table.shape[1] + 1,):
        raise ModelError(
            f"the rows have {table.shape[1]} features, which need weights of shape ({table.shape[1] + 1},) (one for"
            f" each, then the intercept), not {vector.shape}; check num_features"
        )
    return np.asarray((1 + np.tanh((table @ vector[:-1] + vector[-1]) / 2)) / 2)  # unlike exp, tanh cannot overflow


def newton_sums(weights: Any, rows: Any, labels: Any) -> dict[str, Array]:
    """Return one site's contribution to a round, to send as ``params``.

    Args:
        weights: (d + 1,), the received model's ``params["weights"]``.
        rows: (n, d); n may be 0.
        labels: (n,), 0 or 1 for each row; all may be the same.
    Returns:
        ``gradient`` (d + 1,) of the log-likelihood and ``hessian`` (d + 1, d + 1), the negative of its second
        derivative, both float64 and summed over the rows.
    Raises:
        ValueError: rows are not a table of finite numbers.
        ModelError: shapes do not fit, or a label is neither 0 nor 1.
    """
    probabilities = logistic_probabilities(weights, rows)
    wanted = np.asarray(labels)
    if wanted.shape != probabilities.shape:
        raise ModelError(f"labels have shape {wanted.shape} for {len(probabilities)} rows; give one label per row")
    if not np.isin(wanted, (0, 1)).all():
        raise ModelError(f"the labels are {np.unique(wanted)[:5].tolist()}; logistic regression accepts only 0 and 1")
    table = np.column_stack([np.asarray(rows, np.float64), np.ones(len(wanted))])
    curvature = probabilities * (1 - probabilities)
    return {
        "gradient": table.T @ (wanted.astype(np.float64) - probabilities),
        "hessian": table.T @ (table * curvature[:, np.newaxis]),
    }


class NewtonStep(SiteArrays):
    """A Newton-Raphson step on the sum of all sites' gradients and Hessians.

    Args:
        damping_factor: the fraction of the step to take, above 0; 1 is the undamped method.

    Source: Hastie, Tibshirani, Friedman 2009, "The Elements of Statistical Learning", section 4.4.1.
    """

    names = ("gradient", "hessian")
    helper = "newton_sums"

    def __init__(self, damping_factor: float = 0.8) -> None:
        self.damping_factor = damping_factor
        super().__init__()

    def _next(self, params: dict[str, Any], sites: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
        weights = np.asarray(params["weights"], np.float64)
        size = len(weights)
        gradient, hessian = np.zeros(size), np.zeros((size, size))
        for site, arrays in sites.items():
            check_site_shape(site, "gradient", arrays["gradient"], (size,))
            check_site_shape(site, "hessian", arrays["hessian"], (size, size))
            gradient += arrays["gradient"]
            hessian += arrays["hessian"]
        return {"weights": weights + self.damping_factor * _solve(hessian, gradient)}


def _solve(hessian: Array, gradient: Array) -> Array:
    """Solve for the step with all features scaled alike, so that their units do not make the Hessian singular.

    Raises:
        ModelError: the Hessian is singular.
    """
    diagonal = np.diag(hessian)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = hessian * np.outer(scale, scale)
    if (diagonal <= 0).any() or np.linalg.cond(scaled) > 1 / (len(scaled) * np.finfo(np.float64).eps):
        flat = np.flatnonzero(diagonal[:-1] <= 0).tolist()
        what = f" (the features {flat} are zero in all rows)" if flat and diagonal[-1] > 0 else ""
        raise ModelError(
            f"the sum of the sites' Hessians is singular{what}, so there is no Newton step: a feature is constant or"
            " depends on others, all sites together have fewer rows than weights, or the weights have grown until"
            " every probability is 0 or 1. Remove features, or lower damping_factor"
        )
    return np.asarray(scale * np.linalg.solve(scaled, scale * gradient))


@dataclass(kw_only=True, eq=False, repr=False)
class FedAvgLrRecipe(ServerRecipe):
    """Logistic regression with two labels by the Newton-Raphson method: few rounds, and the result of pooled data.

    Scripts send ``newton_sums(model.params["weights"], rows, labels)``. ``initial_model`` holds the initial weights,
    (num_features + 1,) with the intercept last, or a dict with ``weights``; zeros by default. Also accepts the
    arguments of ``FedAvgRecipe``, except those for weights, aggregation and ``quorum``.

    Args:
        damping_factor: the fraction of each step to take, above 0 and at most 1.
        num_features: number of features, without the intercept.

    Example:
        recipe = FedAvgLrRecipe(
            min_clients=2,
            num_rounds=8,
            train_script="newton_client.py",
            num_features=2,
            key_metric=None,
        )
    """

    name: str = "lr_fedavg"
    damping_factor: float = 0.8
    num_features: int = 13

    def _check(self) -> None:
        self.num_features = check_count(self.num_features, "num_features")
        factor = self.damping_factor
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1:
            raise RecipeError(f"damping_factor is {factor!r}; give a number above 0 and at most 1")
        self.damping_factor = float(factor)
        super()._check()

    def _read_model(self, model: Any) -> Any:
        if model is None and self.initial_ckpt is None:
            return np.zeros(self.num_features + 1)
        return model

    def _to_params(self, model: Any) -> dict[str, Any]:
        if isinstance(model, np.ndarray | list | tuple):
            return {"weights": numbers(model, "initial_model")}
        return super()._to_params(model)

    def _check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        check_shape(params, "weights", (self.num_features + 1,))
        return {"weights": np.asarray(params["weights"], np.float64)}

    def _aggregator(self) -> Component:
        return Component("flare_recipes_sklearn.newton.NewtonStep", {"damping_factor": self.damping_factor})
