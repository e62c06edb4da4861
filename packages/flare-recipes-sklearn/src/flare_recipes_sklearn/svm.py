"""Federated support vector machines.

The model is the support vectors of all sites: ``support_x`` (m, d), float64, and ``support_y`` (m,), their labels.
**Support vectors are rows of the sites' data**: they leave the sites unchanged.
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

KERNELS = ("linear", "poly", "rbf", "sigmoid")

TOLERANCE = 1e-5
"""Tighter than scikit-learn's default, since the other sites never see rows that are not support vectors."""


def svm_step(params: Mapping[str, Any], rows: Any, labels: Any, **svc: Any) -> dict[str, Array]:
    """Return one site's contribution to a round, to send as ``params``.

    The site trains on its own rows and the received support vectors. If these all have the same label, it sends no
    support vectors.

    Args:
        params: the received model.
        rows: (n, d); n may be 0.
        labels: (n,), numbers.
        svc: the recipe's settings of the machine, ``**flare.get_config()["svc"]``.
    Returns:
        ``support_x`` (m, d), float64, and ``support_y`` (m,).
    Raises:
        ValueError: rows are not a table of finite numbers.
        ModelError: labels do not fit the rows, or are not numbers.
        ShapeMismatchError: rows and received support vectors have different numbers of features.
    """
    table: Array = check_array(rows, dtype=np.float64, ensure_min_samples=0)
    own = np.asarray(labels)
    if own.shape != table.shape[:1] or own.dtype.kind not in "iubf":
        raise ModelError(
            f"labels are {own.dtype} of shape {own.shape} for {len(table)} rows; give one number per row, not text"
        )
    table, own = _merge([("this site", table, own), *_received_part(params)])
    if len(np.unique(own)) < 2:
        return {"support_x": table[:0], "support_y": own[:0]}
    support = svm_of({"support_x": table, "support_y": own}, **svc).support_
    return {"support_x": table[support], "support_y": own[support]}


def svm_of(params: Mapping[str, Any], **svc: Any) -> SVC:
    """Return a machine trained on the support vectors of a model, ready to predict.

    Args:
        params: ``run.load_model()``, or the params that a script received.
        svc: the recipe's ``kernel``, ``C`` and ``gamma``.
    """
    return SVC(**{"gamma": "auto", "tol": TOLERANCE} | svc).fit(params["support_x"], params["support_y"])


class SupportVectors(SiteArrays):
    """Train on the support vectors of all sites and of the previous rounds, and keep the resulting support vectors.

    A row that one site's machine did not need is missing only until the others' support vectors show that it matters:
    the objective never falls from round to round, and approaches that of the pooled rows. A row that several sites have
    with the same label counts once.

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
        rows, labels = _merge([*_received_part(params), *given])
        if len(np.unique(labels)) < 2:
            raise ModelError(
                f"none of the sites ({', '.join(sites)}) has rows of two classes, so none has support vectors to send;"
                " at least one site needs rows of more than one class"
            )
        support = svm_of(
            {"support_x": rows, "support_y": labels}, kernel=self.kernel, C=self.C, gamma=self.gamma
        ).support_
        return {"support_x": rows[support], "support_y": labels[support]}


Part = tuple[str, Array, Array]


def _received_part(params: Mapping[str, Any]) -> list[Part]:
    if "support_x" not in params:
        return []
    return [("the model", np.asarray(params["support_x"]), np.asarray(params["support_y"]))]


def _merge(parts: Iterable[Part]) -> tuple[Array, Array]:
    """Return the distinct rows of all parts with their labels, in an order independent of the order of the parts.

    Raises:
        ShapeMismatchError: names the first part that does not fit the one before it.
    """
    parts = list(parts)
    first, rows, _ = parts[0]
    for name, table, labels in parts:
        if table.ndim != 2 or table.shape[1] != rows.shape[1] or labels.shape != table.shape[:1]:
            raise ShapeMismatchError(
                f"{name} has rows of shape {table.shape} and labels of shape {labels.shape}, but {first} has rows of"
                f" shape {rows.shape}; all need the same features"
            )
    labels = np.concatenate([labels for _, _, labels in parts])
    table = np.concatenate([table for _, table, _ in parts])
    _, places = np.unique(np.column_stack([table, labels]), axis=0, return_index=True)
    return table[places], labels[places]


@dataclass(kw_only=True, eq=False, repr=False)
class SVMFedAvgRecipe(ServerRecipe):
    """A support vector machine trained on the support vectors of all sites, which are rows of their data.

    Scripts send ``svm_step(model.params, rows, labels, **flare.get_config()["svc"])``, and
    ``svm_of(run.load_model(), ...)`` returns the machine. After one round it is trained on the support vectors that
    each site found alone; with more rounds it approaches a machine trained on the pooled rows. ``initial_model`` is a
    dict with ``support_x`` and ``support_y``, and may be omitted. Also accepts the arguments of ``FedAvgRecipe``,
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
            raise RecipeError(f"kernel is {self.kernel!r}; choose one of {', '.join(KERNELS)}")
        self.C = _check_positive(self.C, "C", "")
        if self.gamma != "auto":
            self.gamma = _check_positive(self.gamma, "gamma", ", or 'auto'")
        super()._check()

    def _read_model(self, model: Any) -> Any:
        return {} if model is None and self.initial_ckpt is None else model

    def _check_params(self, params: dict[str, Any]) -> dict[str, Any]:
        if params:
            check_shape(params, "support_x", (None, None))
            check_shape(params, "support_y", (len(params["support_x"]),))
        return params

    def _svc_arguments(self) -> dict[str, Any]:
        return {"kernel": self.kernel, "C": self.C, "gamma": self.gamma}

    def _script_config(self) -> dict[str, Any]:
        return {"svc": self._svc_arguments()}

    def _aggregator(self) -> Component:
        return Component("flare_recipes_sklearn.svm.SupportVectors", self._svc_arguments())


def _check_positive(value: Any, name: str, alternative: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise RecipeError(f"{name} is {value!r}; give a number above 0{alternative}")
    return float(value)
