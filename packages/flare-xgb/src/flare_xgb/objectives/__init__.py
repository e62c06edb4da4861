"""Objectives by XGBoost's names.

An objective is found by :func:`objective`. Central training and the sites of a federation use it alike; what a
federation must add up or agree on (base score, bounds, quantiles of leaves) is described by :class:`Objective`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from flare_core import FlareError
from flare_xgb.objectives.base import Bounds, LabelError, Objective, Rows, Targets
from flare_xgb.objectives.counts import Poisson, Tweedie
from flare_xgb.objectives.custom import Custom
from flare_xgb.objectives.multiclass import Softmax, Softprob
from flare_xgb.objectives.quantile import AbsoluteError, QuantileError
from flare_xgb.objectives.ranking import RankMAP, RankNDCG, RankPairwise
from flare_xgb.objectives.regression import (
    Gamma,
    Hinge,
    Logistic,
    LogisticOfNumbers,
    LogisticRaw,
    PseudoHuber,
    SquaredError,
    SquaredLogError,
)
from flare_xgb.objectives.survival import AFT, Cox

__all__ = ["NAMES", "Bounds", "Custom", "LabelError", "Objective", "Rows", "Targets", "alphas_of", "objective"]


def objective(name: str, parameters: Mapping[str, Any] | None = None) -> Objective:
    """Return an objective.

    Args:
        name: XGBoost's, such as ``binary:logistic``.
        parameters: XGBoost's, of which only the objective's own are read, such as ``scale_pos_weight``.
    Raises:
        FlareError: there is no such objective, or a parameter that it needs is missing; names it.
    """
    kind = _KINDS.get(name)
    if kind is None:
        raise FlareError(f"there is no objective {name!r}; choose one of {', '.join(NAMES)}")
    given = parameters or {}
    made: dict[str, Any] = {}
    known: tuple[Field[Any], ...] = fields(kind) if is_dataclass(kind) else ()
    for each in known:
        if each.name in _PARAMETERS and given.get(each.name) is not None:
            made[each.name] = _PARAMETERS[each.name](given[each.name])
        elif each.name in _PARAMETERS and each.default is MISSING:
            raise FlareError(f"the objective {name} needs the parameter {each.name}; give it")
    return kind(**made)


def alphas_of(value: Any) -> tuple[float, ...]:
    """Return the quantiles that ``quantile_alpha`` gives, which is one or several numbers."""
    return (float(value),) if isinstance(value, int | float) else tuple(float(each) for each in value)


_PARAMETERS: Mapping[str, Callable[[Any], Any]] = {
    "aft_loss_distribution": str,
    "aft_loss_distribution_scale": float,
    "huber_slope": float,
    "lambdarank_normalization": bool,
    "lambdarank_num_pair_per_sample": int,
    "lambdarank_pair_method": str,
    "lambdarank_score_normalization": bool,
    "lambdarank_unbiased": bool,
    "max_delta_step": float,
    "ndcg_exp_gain": bool,
    "num_class": int,
    "quantile_alpha": alphas_of,
    "scale_pos_weight": float,
    "tweedie_variance_power": float,
}

_KINDS: Mapping[str, type[Objective]] = {
    kind.name: kind
    for kind in (
        *(SquaredError, AbsoluteError, PseudoHuber, SquaredLogError, QuantileError),
        *(LogisticOfNumbers, Logistic, LogisticRaw, Hinge, Softmax, Softprob),
        *(Poisson, Gamma, Tweedie),
        *(Cox, AFT),
        *(RankPairwise, RankNDCG, RankMAP),
    )
}

NAMES: tuple[str, ...] = tuple(_KINDS)
"""The names of all objectives."""
