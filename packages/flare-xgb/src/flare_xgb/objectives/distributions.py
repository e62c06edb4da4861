"""Distributions of the noise of an accelerated failure time: density, its derivatives, and limits far out.

The limits are those of XGBoost, after Barnwal, Cho and Hocking 2020, "Survival regression with accelerated failure time
model in XGBoost", for rows so far out that density and probability vanish.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from flare_xgb.objectives.libm import erf, exp

Float64s = NDArray[np.float64]

GRADIENT_LIMIT, HESSIAN_LIMIT, HESSIAN_LEAST = 15.0, 15.0, 1e-16


@dataclass(frozen=True)
class Limits:
    """Gradients and second derivatives far out, of rows whose z is positive and of those whose z is not.

    Args:
        gradient_above: where z > 0, for events and for censoring from the right.
        gradient_below: elsewhere, for events and for censoring from the left.
        hessian_above: where z > 0, likewise.
        hessian_below: elsewhere, likewise.
    """

    gradient_above: float
    gradient_below: float
    hessian_above: float
    hessian_below: float


class Distribution(Protocol):
    """A distribution of noise."""

    def density(self, z: Float64s) -> Float64s:
        """Return the density."""

    def probability(self, z: Float64s) -> Float64s:
        """Return the probability of less than z."""

    def slope(self, z: Float64s) -> Float64s:
        """Return the first derivative of the density."""

    def curvature(self, z: Float64s) -> Float64s:
        """Return the second derivative of the density."""

    def limits(self, scale: float) -> Limits:
        """Return the limits far out."""


class Normal:
    """The normal distribution."""

    def density(self, z: Float64s) -> Float64s:
        return exp(-z * z / 2) / math.sqrt(2 * math.pi)

    def probability(self, z: Float64s) -> Float64s:
        return 0.5 * (1 + erf(z / math.sqrt(2)))

    def slope(self, z: Float64s) -> Float64s:
        return -z * self.density(z)

    def curvature(self, z: Float64s) -> Float64s:
        return (z * z - 1) * self.density(z)

    def limits(self, scale: float) -> Limits:
        return Limits(-GRADIENT_LIMIT, GRADIENT_LIMIT, 1 / (scale * scale), 1 / (scale * scale))


class LogisticNoise:
    """The logistic distribution."""

    def density(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w * w), 0, w / ((1 + w) * (1 + w)))

    def probability(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w), 1, w / (1 + w))

    def slope(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w), 0, self.density(z) * (1 - w) / (1 + w))

    def curvature(self, z: Float64s) -> Float64s:
        w = exp(z)
        curved = self.density(z) * (w * w - 4 * w + 1) / ((1 + w) * (1 + w))
        return np.where(np.isinf(w * w), 0, curved)

    def limits(self, scale: float) -> Limits:
        return Limits(-1 / scale, 1 / scale, HESSIAN_LEAST, HESSIAN_LEAST)


class Extreme:
    """The distribution of extreme values of Gumbel."""

    def density(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w), 0, w * exp(-w))

    def probability(self, z: Float64s) -> Float64s:
        return 1 - exp(-exp(z))

    def slope(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w), 0, (1 - w) * self.density(z))

    def curvature(self, z: Float64s) -> Float64s:
        w = exp(z)
        return np.where(np.isinf(w * w), 0, (w * w - 3 * w + 1) * self.density(z))

    def limits(self, scale: float) -> Limits:
        return Limits(-GRADIENT_LIMIT, 1 / scale, HESSIAN_LIMIT, HESSIAN_LEAST)


DISTRIBUTIONS: dict[str, Distribution] = {"normal": Normal(), "logistic": LogisticNoise(), "extreme": Extreme()}
"""By XGBoost's names."""
