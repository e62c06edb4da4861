"""Evaluation metrics by XGBoost's names, found by :func:`metric`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flare_core import FlareError
from flare_xgb.metrics.base import Metric
from flare_xgb.metrics.curves import AUC
from flare_xgb.metrics.multiclass import MultiError, MultiLogLoss
from flare_xgb.metrics.regression import MAE, MAPE, RMSE, RMSLE, Error, LogLoss

__all__ = ["NAMES", "Metric", "metric"]


def metric(name: str, parameters: Mapping[str, Any] | None = None) -> Metric:
    """Return a metric.

    Args:
        name: XGBoost's, such as ``logloss`` or ``error@0.7``.
        parameters: XGBoost's, of which some metrics read the objective's, such as ``quantile_alpha``.
    Raises:
        FlareError: there is no such metric; names it.
    """
    kind, _, argument = name.partition("@")
    if kind not in _MADE_BY:
        raise FlareError(f"there is no metric {name!r}; choose one of {', '.join(NAMES)}")
    return _MADE_BY[kind](argument, parameters or {})


def _plain(kind: Callable[[], Metric]) -> Callable[[str, Mapping[str, Any]], Metric]:
    return lambda argument, parameters: kind()


_MADE_BY: Mapping[str, Callable[[str, Mapping[str, Any]], Metric]] = {
    "rmse": _plain(RMSE),
    "rmsle": _plain(RMSLE),
    "mae": _plain(MAE),
    "mape": _plain(MAPE),
    "logloss": _plain(LogLoss),
    "error": lambda argument, parameters: Error(float(argument) if argument else 0.5),
    "merror": _plain(MultiError),
    "mlogloss": _plain(MultiLogLoss),
    "auc": _plain(AUC),
}

NAMES: tuple[str, ...] = tuple(_MADE_BY)
"""The names of all metrics, without what may follow an ``@``."""
