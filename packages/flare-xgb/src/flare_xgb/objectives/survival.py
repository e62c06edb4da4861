"""Losses of times until an event, of which some are known by bounds only: Cox regression, accelerated failure time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import FlareError
from flare_xgb._jit import kernel
from flare_xgb.objectives.base import (
    Bounds,
    Float32s,
    Gradients,
    LabelError,
    Objective,
    Rows,
    Together,
    largest_weight,
    needed,
    text,
    weights_of,
)
from flare_xgb.objectives.distributions import (
    DISTRIBUTIONS,
    GRADIENT_LIMIT,
    HESSIAN_LEAST,
    HESSIAN_LIMIT,
    Distribution,
    Limits,
)
from flare_xgb.objectives.libm import exp, log
from flare_xgb.objectives.sums import Sums, exact_sums

Float64s = NDArray[np.float64]


class Cox(Objective):
    """Partial likelihood of proportional hazards, with Breslow's rule for ties.

    A label is the time of the event, or minus the time until which there was none. A row is compared with the rows at
    risk at the same time, hence with all others. Sites are strata: each compares its rows with its own, so every site
    has a baseline hazard of its own, which is a common model for several hospitals. With one site it is XGBoost's, and
    with several what XGBoost does in distributed training; it depends on which rows are together.
    """

    name = "survival:cox"
    default_metric = "cox-nloglik"
    together: Together = "site"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        label = needed(rows.label, "label", self.name)
        order = np.argsort(np.abs(label), kind="stable")
        margins = np.ascontiguousarray(margins[:, 0])
        at_risk = float(np.add.accumulate(exp(margins)[order], dtype=np.float64)[-1]) if len(order) else 0.0
        gradient, hessian = _cox(label, exp(margins.astype(np.float64)), weights_of(rows)[:, 0], order, at_risk)
        return gradient[:, None], hessian[:, None]

    def to_margin(self, score: Float32s) -> Float32s:
        return log(score)

    def transform_score(self, margins: Float32s) -> Float32s:
        return exp(margins)


@kernel
def _cox(label: Any, hazards: Any, weights: Any, order: Any, at_risk: float) -> Any:
    gradient, hessian = np.empty_like(label), np.empty_like(label)
    rate = rate_of_squares = last_hazard = last_time = leaving = 0.0
    for i in order:
        hazard, time = hazards[i], np.float64(abs(label[i]))
        leaving += last_hazard
        if last_time < time:
            at_risk -= leaving
            leaving = 0.0
        event = 1.0 if label[i] > 0 else 0.0
        if event:
            rate += 1 / at_risk
            rate_of_squares += 1 / (at_risk * at_risk)
        gradient[i] = (hazard * rate - event) * np.float64(weights[i])
        hessian[i] = (hazard * rate - hazard * hazard * rate_of_squares) * np.float64(weights[i])
        last_time, last_hazard = time, hazard
    return gradient, hessian


@dataclass(frozen=True)
class AFT(Objective):
    """Negative log-likelihood of an accelerated failure time, which may be known to lie in an interval only.

    Raises:
        FlareError: there is no distribution of that name, or the scale is not positive.
    """

    name = "survival:aft"
    default_metric = "aft-nloglik"

    aft_loss_distribution: str = "normal"
    aft_loss_distribution_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.aft_loss_distribution not in DISTRIBUTIONS:
            names = ", ".join(DISTRIBUTIONS)
            raise FlareError(f"aft_loss_distribution must be one of {names}, not {self.aft_loss_distribution!r}")
        if not self.aft_loss_distribution_scale > 0:
            raise FlareError(f"aft_loss_distribution_scale must be positive, not {self.aft_loss_distribution_scale}")

    @property
    def distribution(self) -> Distribution:
        """The distribution of the noise."""
        return DISTRIBUTIONS[self.aft_loss_distribution]

    @property
    def scale(self) -> float:
        """The scale of the noise, as a float32."""
        return float(np.float32(self.aft_loss_distribution_scale))

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        lower, upper = times_of(rows, self.name)
        with np.errstate(all="ignore"):
            parts = _derivatives(self.distribution, self.scale, lower, upper, margins[:, 0].astype(np.float64))
        weights = weights_of(rows)
        gradient, hessian = (each.astype(np.float32)[:, None] * weights for each in parts)
        return gradient, hessian

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows)
        return Bounds(GRADIENT_LIMIT * weight, HESSIAN_LIMIT * weight)

    def check(self, rows: Rows) -> None:
        lower, upper = times_of(rows, self.name)
        if not ((lower >= 0) & (lower <= upper) & (upper > 0) & np.isfinite(lower)).all():
            raise LabelError(
                f"{self.name}: a row must have 0 <= label_lower_bound <= label_upper_bound, with a finite lower and a"
                " positive upper bound; correct or remove those that have not"
            )

    def base_sums(self, rows: Rows) -> Sums:
        """Return no sums: the base score does not depend on the rows."""
        return exact_sums()

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return 0.5, whatever the times are."""
        return np.array([0.5], np.float32)

    def to_margin(self, score: Float32s) -> Float32s:
        return log(score)

    def transform_score(self, margins: Float32s) -> Float32s:
        return exp(margins)

    def transform_for_metrics(self, margins: Float32s) -> Float32s:
        """Return the margins."""
        return margins[:, 0]

    def config(self) -> dict[str, Any]:
        scale = text(self.aft_loss_distribution_scale)
        parameters = {"aft_loss_distribution": self.aft_loss_distribution, "aft_loss_distribution_scale": scale}
        return {"name": self.name, "aft_loss_param": parameters}

    def metric_parameters(self) -> Mapping[str, Any]:
        return {
            "aft_loss_distribution": self.aft_loss_distribution,
            "aft_loss_distribution_scale": self.aft_loss_distribution_scale,
        }


def times_of(rows: Rows, name: str) -> tuple[Float64s, Float64s]:
    """Return the bounds of the times.

    Raises:
        LabelError: a column is missing.
    """
    lower = needed(rows.label_lower_bound, "label_lower_bound", name)
    upper = needed(rows.label_upper_bound, "label_upper_bound", name)
    return lower.astype(np.float64), upper.astype(np.float64)


def censored(distribution: Distribution, z_lower: Float64s, z_upper: Float64s) -> tuple[Float64s, Float64s, Float64s]:
    """Return how much probability, density and its slope are at the upper bound more than at the lower.

    Args:
        distribution: of the noise.
        z_lower: −infinity if there is no lower bound.
        z_upper: infinity if there is no upper bound.
    """
    from_left, to_right = np.isneginf(z_lower), np.isposinf(z_upper)
    out = []
    for function, at_right in ((distribution.probability, 1.0), (distribution.density, 0.0), (distribution.slope, 0.0)):
        out.append(np.where(to_right, at_right, function(z_upper)) - np.where(from_left, 0.0, function(z_lower)))
    return out[0], out[1], out[2]


def _derivatives(
    distribution: Distribution, scale: float, lower: Float64s, upper: Float64s, margins: Float64s
) -> tuple[Float64s, Float64s]:
    z_lower, z_upper = (log(lower) - margins) / scale, (log(upper) - margins) / scale
    event, from_left, to_right = lower == upper, lower <= 0, np.isposinf(upper)
    is_above = ((z_upper > 0) & ~to_right) | ((z_lower > 0) & ~from_left)

    density, slope, curvature = (f(z_lower) for f in (distribution.density, distribution.slope, distribution.curvature))
    probability, density_between, slope_between = censored(distribution, z_lower, z_upper)
    denominator = np.where(event, scale * density, scale * probability)
    gradient = np.where(event, slope, density_between) / denominator
    numerator = np.where(
        event,
        -(density * curvature - slope * slope),
        -(probability * slope_between - density_between * density_between),
    )
    squared = np.where(event, scale * scale * density * density, denominator * denominator)
    hessian = numerator / squared

    limits = distribution.limits(scale)
    return (
        _bounded(gradient, denominator, _limits_of_gradient(limits, is_above, event, from_left, to_right)).clip(
            -GRADIENT_LIMIT, GRADIENT_LIMIT
        ),
        _bounded(hessian, squared, _limits_of_hessian(limits, is_above, event, from_left, to_right)).clip(
            HESSIAN_LEAST, HESSIAN_LIMIT
        ),
    )


def _bounded(values: Float64s, denominator: Float64s, limits: Float64s) -> Float64s:
    return np.where((denominator < 1e-12) & ~np.isfinite(values), limits, values)


Mask = NDArray[np.bool_]


def _limits_of_gradient(limits: Limits, is_above: Mask, event: Mask, from_left: Mask, to_right: Mask) -> Float64s:
    above = np.where(from_left & ~event, 0.0, limits.gradient_above)
    below = np.where(to_right & ~from_left & ~event, 0.0, limits.gradient_below)
    return np.where(is_above, above, below)


def _limits_of_hessian(limits: Limits, is_above: Mask, event: Mask, from_left: Mask, to_right: Mask) -> Float64s:
    above = np.where(from_left & ~event, HESSIAN_LEAST, limits.hessian_above)
    below = np.where(to_right & ~from_left & ~event, HESSIAN_LEAST, limits.hessian_below)
    return np.where(is_above, above, below)
