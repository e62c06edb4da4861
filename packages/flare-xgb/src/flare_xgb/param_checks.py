"""Checks of the values of parameters: each takes name and value, and returns the value in its own type."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from flare_core import RecipeError


def _integer(low: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        try:
            number = int(value)
            exact = isinstance(value, str) or number == value
        except (TypeError, ValueError, OverflowError):
            exact = False
        if isinstance(value, bool) or not exact or number < low:
            raise RecipeError(f"{name} must be an integer of at least {low}, not {value!r}")
        return number

    return check


def _real(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not low <= number <= high or math.isinf(number) or (above and number == low):
            bounds = [f"above {low:g}" if above else f"at least {low:g}"] if low > -math.inf else []
            bounds += [f"at most {high:g}"] if high < math.inf else []
            raise RecipeError(f"{name} must be a finite number{', '.join(['', *bounds])}, not {value!r}")
        return number

    return check


def flag(name: str, value: Any) -> bool:
    """Return a truth value that may be given as text or number.

    Raises:
        RecipeError: it is none; names the parameter.
    """
    word = str(value).lower()
    if word not in ("true", "false", "0", "1"):
        raise RecipeError(f"{name} must be true or false, not {value!r}")
    return word in ("true", "1")


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    def check(name: str, value: Any) -> str:
        if value not in allowed:
            raise RecipeError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return check


def _reals(check: Callable[[str, Any], float]) -> Callable[[str, Any], tuple[float, ...]]:
    def of(name: str, value: Any) -> tuple[float, ...]:
        if isinstance(value, str):
            value = [part for part in value.strip("()[] ").split(",") if part.strip()]
        elif not hasattr(value, "__iter__"):
            value = [value]
        return tuple(check(name, one) for one in value)

    return of


def _monotone(name: str, value: Any, features: Mapping[str, int]) -> tuple[int, ...]:
    if isinstance(value, Mapping):
        signs = [0] * len(features)
        for feature, sign in value.items():
            if feature not in features:
                raise RecipeError(f"{name} names {feature!r}, which is no feature of the data")
            signs[features[feature]] = sign
        value = signs
    if isinstance(value, str):
        value = [part for part in value.strip("()[] ").split(",") if part.strip()]
    out = tuple(_integer(-1)(name, one) for one in value)
    if any(one > 1 for one in out):
        raise RecipeError(f"{name} takes -1, 0 and 1, not {value!r}")
    return out


def _interaction(name: str, value: Any, features: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError as error:
            raise RecipeError(f"{name} must be lists of features, such as [[0, 1], [2, 3]], not {value!r}") from error
    groups = []
    for group in value:
        if isinstance(group, str) or not hasattr(group, "__iter__"):
            raise RecipeError(f"{name} must be lists of features, such as [[0, 1], [2, 3]], not {value!r}")
        unknown = [one for one in group if isinstance(one, str) and one not in features]
        if unknown:
            raise RecipeError(f"{name} names {unknown[0]!r}, which is no feature of the data")
        groups.append(tuple(features[one] if isinstance(one, str) else _integer(0)(name, one) for one in group))
    return tuple(groups)


def _metrics(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not hasattr(value, "__iter__") or not all(isinstance(one, str) for one in value):
        raise RecipeError(f"{name} takes names of metrics, not {value!r}")
    return tuple(value)


_share = _real(0, 1, above=True)
_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "learning_rate": _real(0),
    "min_split_loss": _real(0),
    "max_depth": _integer(0),
    "max_leaves": _integer(0),
    "max_bin": _integer(2),
    "grow_policy": _choice("depthwise", "lossguide"),
    "max_cat_to_onehot": _integer(1),
    "max_cat_threshold": _integer(1),
    "min_child_weight": _real(0),
    "reg_lambda": _real(0),
    "reg_alpha": _real(0),
    "max_delta_step": _real(0),
    "subsample": _share,
    "colsample_bytree": _share,
    "colsample_bylevel": _share,
    "colsample_bynode": _share,
    "num_class": _integer(0),
    "scale_pos_weight": _real(0),
    "huber_slope": _real(0, above=True),
    "tweedie_variance_power": _real(1, 2),
    "quantile_alpha": _reals(_real(0, 1, above=True)),
    "aft_loss_distribution": _choice("normal", "logistic", "extreme"),
    "aft_loss_distribution_scale": _real(0, above=True),
    "lambdarank_pair_method": _choice("mean", "topk"),
    "lambdarank_num_pair_per_sample": _integer(1),
    "lambdarank_normalization": flag,
    "lambdarank_score_normalization": flag,
    "ndcg_exp_gain": flag,
    "objective": lambda name, value: str(value),
    "base_score": _reals(_real(-math.inf)),
    "num_parallel_tree": _integer(1),
    "eval_metric": _metrics,
    "seed": _integer(-(1 << 62)),
    "seed_per_iteration": flag,
    "nthread": _integer(-(1 << 31)),
    "disable_default_eval_metric": flag,
}


def checked(name: str, value: Any, features: Mapping[str, int], spelled: str) -> Any:
    """Return the value of a parameter in its own type.

    Args:
        name: the parameter's, no alias.
        value: as given; may be text.
        features: the places of the features that have a name.
        spelled: the name as given, for messages.
    Raises:
        RecipeError: the value is of another type, or out of range; names the parameter.
    """
    if name == "monotone_constraints":
        return _monotone(name, value, features)
    if name == "interaction_constraints":
        return _interaction(name, value, features)
    return _CHECKS[name](spelled, value)
