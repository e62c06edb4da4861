"""XGBoost's gain and weight of a set of rows, rounded where it rounds.

Sums are float64; weights and gains are float32. The quotient of a gain is taken in float32, of a weight in float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from flare_xgb._jit import kernel
from flare_xgb.params import TreeParams


class Rules(NamedTuple):
    """Regularisation as kernels take it."""

    reg_lambda: np.float32
    reg_alpha: np.float32
    min_child_weight: np.float32
    max_delta_step: np.float32
    constrained: bool
    max_cat_to_onehot: int
    max_cat_threshold: int

    @classmethod
    def of(cls, params: TreeParams) -> Rules:
        """Return the rules of a tree's parameters."""
        return cls(
            np.float32(params.reg_lambda),
            np.float32(params.reg_alpha),
            np.float32(params.min_child_weight),
            np.float32(params.max_delta_step),
            bool(params.monotone_constraints),
            params.max_cat_to_onehot,
            params.max_cat_threshold,
        )


@kernel
def _shrunk(gradient: float, alpha: np.float32) -> Any:
    if gradient > alpha:
        return gradient - alpha
    if gradient < -alpha:
        return gradient + alpha
    return 0.0


@kernel
def weight_of(gradient: float, hessian: float, lower: np.float32, upper: np.float32, rules: Rules) -> Any:
    """Return the best weight, float32, of rows with these sums, within bounds if there are monotone constraints."""
    if hessian < rules.min_child_weight or hessian <= 0.0:
        weight: Any = np.float32(0.0)
    else:
        exact = -_shrunk(gradient, rules.reg_alpha) / (hessian + rules.reg_lambda)
        if rules.max_delta_step != 0 and abs(exact) > rules.max_delta_step:
            exact = math.copysign(np.float64(rules.max_delta_step), exact)
        weight = np.float32(exact)
    if rules.constrained:
        if weight < lower:
            return lower
        if weight > upper:
            return upper
    return weight


@kernel
def gain_of(gradient: float, hessian: float, weight: np.float32, rules: Rules) -> np.float32:
    """Return how much a weight improves the objective on rows with these sums, doubled."""
    if hessian <= 0.0:
        return np.float32(0.0)
    if rules.max_delta_step == 0 and not rules.constrained:
        shrunk = _shrunk(gradient, rules.reg_alpha)
        return np.float32(shrunk * shrunk) / np.float32(hessian + rules.reg_lambda)
    small_gradient, small_hessian = np.float32(gradient), np.float32(hessian)
    return np.float32(
        -(np.float32(2.0) * small_gradient * weight + (small_hessian + rules.reg_lambda) * (weight * weight))
    )


@kernel
def improvement(
    left_gradient: float,
    left_hessian: float,
    right_gradient: float,
    right_hessian: float,
    parent_gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> np.float32:
    """Return the loss change of a split; minus infinity where it breaks the feature's monotone constraint."""
    nothing = np.float32(0.0)
    if rules.max_delta_step == 0 and not rules.constrained:  # the gain does not depend on the weight
        left, right = (
            gain_of(left_gradient, left_hessian, nothing, rules),
            gain_of(right_gradient, right_hessian, nothing, rules),
        )
        return (left + right) - parent_gain
    left_weight = weight_of(left_gradient, left_hessian, lower, upper, rules)
    right_weight = weight_of(right_gradient, right_hessian, lower, upper, rules)
    if (monotone > 0 and left_weight > right_weight) or (monotone < 0 and left_weight < right_weight):
        return np.float32(-np.inf)
    return (
        gain_of(left_gradient, left_hessian, left_weight, rules)
        + gain_of(right_gradient, right_hessian, right_weight, rules)
    ) - parent_gain


def leaf(
    gradient: float, hessian: float, lower: np.float32, upper: np.float32, rules: Rules
) -> tuple[np.float32, np.float32]:
    """Return weight and gain of a node with these sums and bounds."""
    weight, gain = _leaf(gradient, hessian, lower, upper, rules)
    return np.float32(weight), np.float32(gain)  # compiled code returns Python's floats


@kernel
def _leaf(
    gradient: float, hessian: float, lower: np.float32, upper: np.float32, rules: Rules
) -> tuple[np.float32, np.float32]:
    weight = weight_of(gradient, hessian, lower, upper, rules)
    return weight, gain_of(gradient, hessian, weight, rules)
