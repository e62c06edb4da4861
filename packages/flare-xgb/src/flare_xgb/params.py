"""Parameters by XGBoost's names, checked: what this package does not do is refused by name."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_core import RecipeError, UnknownArgumentError

__all__ = ["ObjectiveParams", "Params", "TreeParams", "parse"]


@dataclass(frozen=True, kw_only=True)
class TreeParams:
    """How one tree grows. Names and defaults are those of XGBoost 3.2."""

    learning_rate: float = 0.3
    min_split_loss: float = 0.0
    max_depth: int = 6
    max_leaves: int = 0
    max_bin: int = 256
    grow_policy: str = "depthwise"
    max_cat_to_onehot: int = 4
    max_cat_threshold: int = 64
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0
    reg_alpha: float = 0.0
    max_delta_step: float = 0.0
    subsample: float = 1.0
    colsample_bytree: float = 1.0
    colsample_bylevel: float = 1.0
    colsample_bynode: float = 1.0
    monotone_constraints: tuple[int, ...] = ()
    interaction_constraints: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ObjectiveParams:
    """Parameters of the objectives. Names and defaults are those of XGBoost 3.2."""

    num_class: int = 0
    scale_pos_weight: float = 1.0
    max_delta_step: float = 0.0
    huber_slope: float = 1.0
    tweedie_variance_power: float = 1.5
    quantile_alpha: tuple[float, ...] = ()
    aft_loss_distribution: str = "normal"
    aft_loss_distribution_scale: float = 1.0
    lambdarank_pair_method: str = "topk"
    lambdarank_num_pair_per_sample: int | None = None
    lambdarank_normalization: bool = True
    lambdarank_score_normalization: bool = True
    ndcg_exp_gain: bool = True


@dataclass(frozen=True, kw_only=True)
class Params:
    """All parameters of a training.

    Args:
        tree: how a tree grows.
        objective: the objective's name, such as ``"binary:logistic"``.
        loss: what the objective takes besides.
        base_score: the prediction before the first tree, one for all outputs or one for each; none: from the data.
        num_parallel_tree: trees that each round adds for each output.
        eval_metric: names of metrics; none: the objective's own.
        seed: seeds the draw of rows and columns.
        seed_per_iteration: seed anew in each round, with the round's number.
        nthread: threads of the kernels; 0: one for each core.
        disable_default_eval_metric: evaluate nothing where ``eval_metric`` is empty.
    """

    tree: TreeParams = field(default_factory=TreeParams)
    objective: str = "reg:squarederror"
    loss: ObjectiveParams = field(default_factory=ObjectiveParams)
    base_score: tuple[float, ...] | None = None
    num_parallel_tree: int = 1
    eval_metric: tuple[str, ...] = ()
    seed: int = 0
    seed_per_iteration: bool = False
    nthread: int = 0
    disable_default_eval_metric: bool = False


_ALIASES = {
    "eta": "learning_rate",
    "gamma": "min_split_loss",
    "lambda": "reg_lambda",
    "alpha": "reg_alpha",
    "random_state": "seed",
    "n_jobs": "nthread",
}
# Values that mean what this package does anyway.
_FIXED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "booster": (("gbtree",), "this package boosts trees without dropout; leave booster out"),
    "tree_method": (("hist", "auto"), "every tree is grown from histograms; use tree_method='hist'"),
    "device": (("cpu",), "the kernels run on CPUs; use device='cpu'"),
    "process_type": (("default",), "trees are grown, never refreshed; leave process_type out"),
    "sampling_method": (("uniform",), "rows are drawn with equal probability; use sampling_method='uniform'"),
    "multi_strategy": (
        ("one_output_per_tree",),
        "a tree has one output; use multi_strategy='one_output_per_tree'",
    ),
    "updater": (("grow_quantile_histmaker",), "there is one way to grow a tree; leave updater out"),
    "lambdarank_unbiased": ((False,), "the position of a row is not debiased; use lambdarank_unbiased=False"),
    "lambdarank_bias_norm": ((1.0,), "the position of a row is not debiased; leave lambdarank_bias_norm out"),
}
_DART = ("sample_type", "normalize_type", "rate_drop", "one_drop", "skip_drop")
_LINEAR = ("feature_selector", "top_k")
_REFUSED = {
    **dict.fromkeys(_DART, "it belongs to the booster 'dart', which is left out"),
    **dict.fromkeys(_LINEAR, "it belongs to the booster 'gblinear', which is left out"),
    "gpu_id": "the kernels run on CPUs; leave it out",
    "predictor": "there is one predictor; leave it out",
    "feature_weights": "columns are drawn with equal probability; leave it out",
}
# Without effect on the model.
_IGNORED = {
    "verbosity",
    "silent",
    "validate_parameters",
    "fail_on_invalid_gpu_id",
    "use_rmm",
    "max_cached_hist_node",
    "debug_synchronize",
    "refresh_leaf",
    "sparse_threshold",
    "boost_from_average",
}


def parse(given: Mapping[str, Any], features: Sequence[str] | int | None = None) -> Params:
    """Check parameters in XGBoost's form.

    Args:
        given: names and aliases of XGBoost; values may be strings, as XGBoost also takes them.
        features: names of the features, or their number: constraints may then be given by name, and are checked.
    Raises:
        UnknownArgumentError: a name that XGBoost does not have.
        RecipeError: a value out of range, or a parameter of XGBoost's that this package leaves out.
    """
    named: dict[str, Any] = {}
    for key, value in given.items():
        name = _ALIASES.get(key, key)
        if name in named and named[name] != value:
            raise RecipeError(f"{key} and another name of the same parameter have different values; give one of them")
        named[name] = value
    _refuse(named)
    named = {name: value for name, value in named.items() if name not in _IGNORED and name not in _FIXED}
    names = _names(features)
    if named.get("objective") == "count:poisson":
        named.setdefault("max_delta_step", 0.7)
    parts: dict[str, dict[str, Any]] = {"tree": {}, "loss": {}, "": {}}
    for name, value in named.items():
        known = False
        for part, fields in _PARTS.items():
            if name in fields:
                known = True
                parts[part][name] = _value(name, value, names)
        if not known:
            near = f"; did you mean {', '.join(_near(name))}?" if _near(name) else ""
            raise UnknownArgumentError(f"XGBoost has no parameter {name!r}{near}")
    params = Params(tree=TreeParams(**parts["tree"]), loss=ObjectiveParams(**parts["loss"]), **parts[""])
    if features is not None:
        _check_features(params.tree, features if isinstance(features, int) else len(features))
    return params


_PARTS: Mapping[str, frozenset[str]] = {
    "tree": frozenset(one.name for one in dataclasses.fields(TreeParams)),
    "loss": frozenset(one.name for one in dataclasses.fields(ObjectiveParams)),
    "": frozenset(one.name for one in dataclasses.fields(Params)) - {"tree", "loss"},
}


def _near(name: str) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, [*(one for part in _PARTS.values() for one in part), *_ALIASES], n=3)


def _refuse(named: Mapping[str, Any]) -> None:
    for name, remedy in _REFUSED.items():
        if name in named:
            raise RecipeError(f"{name} is left out: {remedy}")
    for name, (allowed, remedy) in _FIXED.items():
        if name not in named:
            continue
        value = named[name]
        wanted = tuple(_flag(name, value) if isinstance(one, bool) else type(one)(value) for one in allowed[:1])
        if wanted[0] not in allowed:
            raise RecipeError(f"{name}={value!r} is left out: {remedy}")


def _names(features: Sequence[str] | int | None) -> Mapping[str, int]:
    if features is None or isinstance(features, int):
        return {}
    return {name: at for at, name in enumerate(features)}


def _check_features(tree: TreeParams, features: int) -> None:
    if len(tree.monotone_constraints) > features:
        raise RecipeError(
            f"monotone_constraints has {len(tree.monotone_constraints)} entries for {features} features; give one for"
            " each"
        )
    for group in tree.interaction_constraints:
        for feature in group:
            if feature >= features:
                raise RecipeError(f"interaction_constraints names feature {feature}, but there are {features}")


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
            bound = f"above {low:g}" if above else f"of at least {low:g}"
            raise RecipeError(
                f"{name} must be a number {bound}{'' if high == math.inf else f', at most {high:g}'}, not {value!r}"
            )
        return number

    return check


def _flag(name: str, value: Any) -> bool:
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
    if not all(isinstance(one, str) for one in value):
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
    "tweedie_variance_power": _real(1, 2, above=True),
    "quantile_alpha": _reals(_real(0, 1, above=True)),
    "aft_loss_distribution": _choice("normal", "logistic", "extreme"),
    "aft_loss_distribution_scale": _real(0, above=True),
    "lambdarank_pair_method": _choice("mean", "topk"),
    "lambdarank_num_pair_per_sample": _integer(1),
    "lambdarank_normalization": _flag,
    "lambdarank_score_normalization": _flag,
    "ndcg_exp_gain": _flag,
    "objective": lambda name, value: str(value),
    "base_score": _reals(_real(-math.inf)),
    "num_parallel_tree": _integer(1),
    "eval_metric": _metrics,
    "seed": _integer(-(1 << 62)),
    "seed_per_iteration": _flag,
    "nthread": _integer(0),
    "disable_default_eval_metric": _flag,
}


def _value(name: str, value: Any, features: Mapping[str, int]) -> Any:
    if name == "monotone_constraints":
        return _monotone(name, value, features)
    if name == "interaction_constraints":
        return _interaction(name, value, features)
    return _CHECKS[name](name, value)
