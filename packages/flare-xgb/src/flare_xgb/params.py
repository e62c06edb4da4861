"""Parameters by XGBoost's names, checked: what this package does not do is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flare_core import RecipeError, UnknownArgumentError
from flare_xgb.param_checks import checked, flag


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
        nthread: threads of the kernels; 0 or less: one for each core.
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
    "num_target": "a table has one label for each row; leave it out",
    "gpu_id": "the kernels run on CPUs; leave it out",
    "predictor": "there is one predictor; leave it out",
    "feature_weights": "columns are drawn with equal probability; leave it out",
}
# What XGBoost takes elsewhere than among its parameters, and where it belongs here.
_ELSEWHERE = {
    **dict.fromkeys(("n_estimators", "num_boost_round", "num_round"), "give num_rounds to the recipe"),
    "early_stopping_rounds": "give early_stopping_rounds to the recipe",
    "missing": "give missing to the loader",
    "enable_categorical": "name the columns of categories in categorical of the loader",
    "feature_types": "name the columns of categories in categorical of the loader",
    "use_label_encoder": "labels are numbers, of classes 0, 1, …; leave it out",
    "importance_type": "model.json has all types of importance; leave it out",
    "callbacks": "metrics are always recorded; leave it out",
    **dict.fromkeys(("verbose", "verbose_eval"), "each round is always shown; leave it out"),
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
        given: names and aliases of XGBoost; values may be strings, as XGBoost also takes them, and None stands for the
            default.
        features: names of the features, or their number: constraints may then be given by name, and are checked.
    Raises:
        UnknownArgumentError: a name that XGBoost does not have.
        RecipeError: a value out of range, or a parameter of XGBoost's that this package leaves out.
    """
    named: dict[str, Any] = {}
    spelled: dict[str, str] = {}
    for key, value in given.items():
        if value is None:
            continue
        name = _ALIASES.get(key, key)
        spelled[name] = key
        if name in named and named[name] != value:
            raise RecipeError(f"{key} and another name of the same parameter have different values; give one of them")
        named[name] = value
    if stray := next((name for name in named if name in _ELSEWHERE), None):
        raise UnknownArgumentError(f"{stray} is not one of xgb_params: {_ELSEWHERE[stray]}")
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
                parts[part][name] = checked(name, value, names, spelled.get(name, name))
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

    return get_close_matches(name, sorted({*_ALIASES, *frozenset().union(*_PARTS.values())}), n=3)


def _refuse(named: Mapping[str, Any]) -> None:
    for name, remedy in _REFUSED.items():
        if name in named:
            raise RecipeError(f"{name} is left out: {remedy}")
    for name, (allowed, remedy) in _FIXED.items():
        if name not in named:
            continue
        value = named[name]
        wanted = tuple(flag(name, value) if isinstance(one, bool) else type(one)(value) for one in allowed[:1])
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
