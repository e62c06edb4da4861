"""Objectives by XGBoost's names.

An objective is found by :func:`objective`. Central training and the sites of a federation use it alike; what a
federation must add up or agree on (base score, bounds, quantiles of leaves) is described by :class:`Objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flare_core import FlareError
from flare_xgb.objectives.base import Bounds, LabelError, Objective, Rows, Targets
from flare_xgb.objectives.multiclass import Softmax, Softprob
from flare_xgb.objectives.regression import Gamma, Logistic, LogisticOfNumbers, LogisticRaw, SquaredError

__all__ = ["NAMES", "Bounds", "LabelError", "Objective", "Rows", "Targets", "objective"]


def objective(name: str, parameters: Mapping[str, Any] | None = None) -> Objective:
    """Return an objective.

    Args:
        name: XGBoost's, such as ``binary:logistic``.
        parameters: XGBoost's, of which only the objective's own are read, such as ``scale_pos_weight``.
    Raises:
        FlareError: there is no such objective, or a parameter that it needs is missing; names it.
    """
    if name not in _MADE_BY:
        raise FlareError(f"there is no objective {name!r}; choose one of {', '.join(NAMES)}")
    return _MADE_BY[name](parameters or {})


def _with_positives(kind: Callable[..., Objective]) -> Callable[[Mapping[str, Any]], Objective]:
    return lambda parameters: kind(scale_pos_weight=float(parameters.get("scale_pos_weight", 1)))


def _classes(kind: Callable[..., Objective]) -> Callable[[Mapping[str, Any]], Objective]:
    def make(parameters: Mapping[str, Any]) -> Objective:
        if int(parameters.get("num_class", 0)) < 1:
            raise FlareError("multi:softprob and multi:softmax need the parameter num_class, the number of classes")
        return kind(num_class=int(parameters["num_class"]))

    return make


_MADE_BY: Mapping[str, Callable[[Mapping[str, Any]], Objective]] = {
    "reg:squarederror": _with_positives(SquaredError),
    "reg:logistic": _with_positives(LogisticOfNumbers),
    "binary:logistic": _with_positives(Logistic),
    "binary:logitraw": _with_positives(LogisticRaw),
    "reg:gamma": _with_positives(Gamma),
    "multi:softmax": _classes(Softmax),
    "multi:softprob": _classes(Softprob),
}

NAMES: tuple[str, ...] = tuple(_MADE_BY)
"""The names of all objectives."""
