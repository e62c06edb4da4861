"""Evaluation metrics by XGBoost's names, found by :func:`metric`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flare_core import FlareError
from flare_xgb.metrics.base import Metric
from flare_xgb.metrics.curves import AUC, AUCPR
from flare_xgb.metrics.likelihoods import (
    GammaDeviance,
    GammaLikelihood,
    MeanPseudoHuber,
    Pinball,
    PoissonLikelihood,
    TweedieLikelihood,
)
from flare_xgb.metrics.multiclass import MultiError, MultiLogLoss
from flare_xgb.metrics.ranking import MAP, NDCG, Precision
from flare_xgb.metrics.regression import MAE, MAPE, RMSE, RMSLE, Error, LogLoss
from flare_xgb.metrics.survival import AFTLikelihood, CoxLikelihood, IntervalAccuracy
from flare_xgb.objectives import Objective, alphas_of, objective
from flare_xgb.objectives.survival import AFT

__all__ = ["NAMES", "Metric", "metric", "metrics_of"]


def metrics_of(
    objective: Objective, names: Sequence[str] = (), parameters: Mapping[str, Any] | None = None
) -> tuple[Metric, ...]:
    """Return the metrics of a training: those named, or the objective's default.

    Args:
        objective: of the training.
        names: XGBoost's ``eval_metric``.
        parameters: XGBoost's, as in :func:`metric`.
    Raises:
        FlareError: there is no such metric; names it.
    """
    if names:
        return tuple(metric(name, parameters) for name in names)
    return (metric(objective.default_metric, {**(parameters or {}), **objective.metric_parameters()}),)


def metric(name: str, parameters: Mapping[str, Any] | None = None) -> Metric:
    """Return a metric.

    Args:
        name: XGBoost's, such as ``logloss`` or ``error@0.7``.
        parameters: XGBoost's, of which some metrics read the objective's, such as ``quantile_alpha``.
    Raises:
        FlareError: there is no such metric; names it.
    """
    kind, argument = _split(name)
    if kind in _LEFT_OUT:
        raise FlareError(f"the metric {name} is left out: {_LEFT_OUT[kind]}")
    if kind not in _MADE_BY:
        raise FlareError(f"there is no metric {name!r}; choose one of {', '.join(NAMES)}")
    try:
        return _MADE_BY[kind](argument, parameters or {})
    except ValueError as error:
        raise FlareError(
            f"what follows {kind} in the metric {name!r} is not understood; write {_FORMS[kind]}"
        ) from error


def _split(name: str) -> tuple[str, str]:
    """Return what stands before and after an ``@``; a minus at the end comes after it."""
    kind, at, argument = name.partition("@")
    if not at and kind.endswith("-"):
        return kind[:-1], "-"
    return kind, argument


Maker = Callable[[str, Mapping[str, Any]], Metric]


def _plain(kind: Callable[[], Metric]) -> Maker:
    def make(argument: str, parameters: Mapping[str, Any]) -> Metric:
        if argument:
            raise ValueError(argument)
        return kind()

    return make


def _ranking(kind: Callable[..., Metric]) -> Maker:
    def make(argument: str, parameters: Mapping[str, Any]) -> Metric:
        found = re.fullmatch(r"(\d*)(-?)", argument)
        if found is None or found[1] == "0":
            raise ValueError(argument)
        known: dict[str, Any] = {"minus": bool(found[2]), "suffix": f"@{argument}" if found[1] else argument}
        if found[1]:
            known["top"] = int(found[1])
        if kind is NDCG:
            known = {"top": parameters.get("ndcg_top", 32), "exp_gain": parameters.get("ndcg_exp_gain", True), **known}
        return kind(**known)

    return make


def _aft(argument: str, parameters: Mapping[str, Any]) -> Metric:
    made = objective("survival:aft", parameters)
    assert isinstance(made, AFT)
    return AFTLikelihood(made)


_MADE_BY: Mapping[str, Maker] = {
    "rmse": _plain(RMSE),
    "rmsle": _plain(RMSLE),
    "mae": _plain(MAE),
    "mape": _plain(MAPE),
    "mphe": lambda argument, parameters: MeanPseudoHuber(float(parameters.get("huber_slope", 1))),
    "quantile": lambda argument, parameters: Pinball(alphas_of(parameters.get("quantile_alpha", ()))),
    "logloss": _plain(LogLoss),
    "error": lambda argument, parameters: Error(float(argument) if argument else 0.5),
    "merror": _plain(MultiError),
    "mlogloss": _plain(MultiLogLoss),
    "auc": _plain(AUC),
    "aucpr": _plain(AUCPR),
    "pre": _ranking(Precision),
    "ndcg": _ranking(NDCG),
    "map": _ranking(MAP),
    "poisson-nloglik": _plain(PoissonLikelihood),
    "gamma-nloglik": _plain(GammaLikelihood),
    "gamma-deviance": _plain(GammaDeviance),
    "tweedie-nloglik": lambda argument, parameters: TweedieLikelihood(float(argument)),
    "cox-nloglik": _plain(CoxLikelihood),
    "aft-nloglik": _aft,
    "interval-regression-accuracy": _plain(IntervalAccuracy),
}
_FORMS = {
    **{kind: kind for kind in _MADE_BY},
    **{kind: f"{kind}, {kind}@10, {kind}- or {kind}@10-" for kind in ("pre", "ndcg", "map")},
    "error": "error or error@0.7",
    "tweedie-nloglik": "tweedie-nloglik@1.5",
}
_LEFT_OUT = {"ams": "it depends on the order of the rows of all sites; use auc or aucpr"}

NAMES: tuple[str, ...] = tuple(_MADE_BY)
"""The names of all metrics, without what may follow an ``@``."""
