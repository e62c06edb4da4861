"""Federated support vector machines.

The model is the support vectors of all sites: ``support_x`` (m, d), float64, and ``support_y`` (m,), their labels.
**Support vectors are rows of the sites' data**: they leave the sites as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.svm import SVC
from sklearn.utils import check_array

from flare_core import ModelError, RecipeError
from flare_core.components import Component
from flare_core.errors import ShapeMismatchError
from flare_recipes_sklearn.model import check_shape
from flare_recipes_sklearn.sums import Array, ServerRecipe, SiteArrays

__all__ = ["SVMFedAvgRecipe", "SupportVectors", "svm_of", "svm_step"]

KERNELS = ("linear", "poly", "rbf", "sigmoid")

TOLERANCE = 1e-5
"""Finer than scikit-learn's own, since what is no support vector at one site is seen by nobody else."""


def svm_step(params: Mapping[str, Any], rows: Any, labels: Any, **svc: Any) -> dict[str, Array]:
    """Return one site's contribution to a round, to be sent as ``params``.

    The site trains on its own rows and the support vectors that it received. With rows of a single class, and as long
    as it has received none of another, it has no support vectors to send.

    Args:
        params: the model as received.
        rows: (n, d); n may be 0.
        labels: (n,), numbers.
        svc: what the recipe says about the machine: ``**flare.get_config()["svc"]``.
    Returns:
        ``support_x`` (m, d), float64, and ``support_y`` (m,).
    Raises:
        ValueError: rows are no table of finite numbers.
        ModelError: labels do not fit the rows, or are no numbers.
        ShapeMismatchError: rows have another number of features than the support vectors received.
    """
    table: Array = check_array(rows, dtype=np.float64, ensure_min_samples=0)
    own = np.asarray(labels)
    if own.shape != table.shape[:1] or own.dtype.kind not in "iubf":
        raise ModelError(
            f"labels are {own.dtype} of shape {own.shape} for {len(table)} rows; give one number a row, text does not"
            " travel"
        )
    table, own = _merged([("this site", table, own), *_received(params)])
    if len(np.unique(own)) < 2:
        return {"support_x": table[:0], "support_y": own[:0]}
    support = svm_of({"support_x": table, "support_y": own}, **svc).support_
    return {"support_x": table[support], "support_y": own[support]}


def svm_of(params: Mapping[str, Any], **svc: Any) -> SVC:
    """Return the machine that the support vectors of a model amount to, ready to predict.

    Args:
        params: ``run.load_model()``, or the model that a script received.
        svc: the recipe's ``kernel``, ``C`` and ``gamma``.
    """
    return SVC(**{"gamma": "auto", "tol": TOLERANCE} | svc).fit(params["support_x"], params["support_y"])


class SupportVectors(SiteArrays):
    """Train on the support vectors of all sites and those before, and keep the support vectors of that.

    What one site's machine has not needed is missing only until the others' support vectors show that it matters: each
    round's machine has at least the margin's cost of the one before, up to that of all rows in one place. A row that
    several sites have with the same label counts once.

    Args:
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        C: the cost of a row on the wrong side of the margin.
        gamma: the kernel's coefficient; ``auto`` is 1 / number of features.

    Source: Graf et al. 2005, "Parallel Support Vector Machines: The Cascade SVM", with a single layer below the last.
    """

    names = ("support_x", "support_y")
    helper = "svm_step"

    def __init__(self, kernel: str = "rbf", C: float = 1.0, gamma: float | str = "auto") -> None:
        self.kernel = kernel
        self.C = C
        self.gamma = gamma
        super().__init__()

    def _next(self, params: dict[str, Any], sites: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
        given = [(site, arrays["support_x"], arrays["support_y"]) for site, arrays in sites.items()]
        rows, labels = _merged([*_received(params), *given])
        if len(np.unique(labels)) < 2:
            raise ModelError(
                f"none of the sites ({', '.join(sites)}) has rows of two classes, so none has support vectors to send;"
                " at least one has to see the classes together"
            )
        support = svm_of(
            {"support_x": rows, "support_y": labels}, kernel=self.kernel, C=self.C, gamma=self.gamma
        ).support_
        return {"support_x": rows[support], "support_y": labels[support]}


Part = tuple[str, Array, Array]


def _received(params: Mapping[str, Any]) -> list[Part]:
    if "support_x" not in params:
        return []
    return [("the model", np.asarray(params["support_x"]), np.asarray(params["support_y"]))]


def _merged(parts: Iterable[Part]) -> tuple[Array, Array]:
    """Rows and labels of all parts, each pair once, in an order that does not depend on that of the parts.

    Raises:
        ShapeMismatchError: names the first part that does not fit the one before it.
    """
    parts = list(parts)
    first, rows, _ = parts[0]
    for name, table, labels in parts:
        if table.ndim != 2 or table.shape[1] != rows.shape[1] or labels.shape != table.shape[:1]:
            raise ShapeMismatchError(
                f"{name} has rows of shape {table.shape} and labels of shape {labels.shape}, {first} has rows of shape"
                f" {rows.shape}; all need the same features"
            )
    labels = np.concatenate([labels for _, _, labels in parts])
    table = np.concatenate([table for _, table, _ in parts])
    _, places = np.unique(np.column_stack([table, labels]), axis=0, return_index=True)
    return table[places], labels[places]


@dataclass(kw_only=True, eq=False, repr=False)
class SVMFedAvgRecipe(ServerRecipe):
    """A support vector machine trained on the support vectors of all sites, which are rows of their data.

    Scripts send ``svm_step(model.params, rows, labels, **flare.get_config()["svc"])``, and
    ``svm_of(run.load_model(), ...)`` is the machine. After one round it is trained on the support vectors that each
    site found alone; with more rounds it approaches the machine trained on all rows in one place. ``initial_model`` is
    a dict with ``support_x`` and ``support_y``, and may be left out. Takes the arguments of ``FedAvgRecipe`` too,
    except those for weights, aggregation and ``quorum``.

    Args:
        kernel: ``linear``, ``poly``, ``rbf`` or ``sigmoid``.
        C: the cost of a row on the wrong side of the margin.
        gamma: the coefficient of the kernels other than ``linear``: a number, or ``auto`` for 1 / number of features.
            scikit-learn's ``scale`` depends on the rows and would differ between sites.

    Example:
        recipe = SVMFedAvgRecipe(
            min_clients=2,
            num_rounds=2,
            train_script="svm_client.py",
            kernel="linear",
            key_metric=None,
        )
    """

    name: str = "svm_fedavg"
    kernel: str = "rbf"
    C: float = 1.0
    gamma: float | str = "auto"

    def _check(self) -> None:
        if self.kernel not in KERNELS:
            raise RecipeError(f"kernel is {self.kernel!r}; known are {', '.join(KERNELS)}")
        self.C = _checked_positive(self.C, "C", "")
        if self.gamma != "auto":
            self.gamma = _checked_positive(self.gamma, "gamma", ", or 'auto'")
        super()._check()

    def _read_model(self, model: Any) -> Any:
        return {} if model is None and self.initial_ckpt is None else model

    def _checked_params(self, params: dict[str, Any]) -> dict[str, Any]:
        if params:
            check_shape(params, "support_x", (None, None))
            check_shape(params, "support_y", (len(params["support_x"]),))
        return params

    def _machine(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "C": self.C, "gamma": self.gamma}

    def _script_config(self) -> dict[str, Any]:
        return {"svc": self._machine()}

    def _server_side(self) -> Component:
        return Component("flare_recipes_sklearn.svm.SupportVectors", self._machine())


def _checked_positive(value: Any, name: str, otherwise: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise RecipeError(f"{name} is {value!r}; give a number above 0{otherwise}")
    return float(value)
