"""Losses whose minimum is a quantile: absolute error and the pinball loss. Their leaves are quantiles of residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_core import FlareError
from flare_xgb.objectives.base import (
    Bounds,
    Float32s,
    Gradients,
    Objective,
    Rows,
    labels_of,
    largest_weight,
    weights_of,
)
from flare_xgb.objectives.sums import Sums, exact_sums, total


class WithAdaptiveLeaves(Objective):
    """A loss with the weight as second derivative."""

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows)
        return Bounds(weight, weight)

    def base_sums(self, rows: Rows) -> Sums:
        """Return the sum of weights."""
        return exact_sums(weights_of(rows))


class AbsoluteError(WithAdaptiveLeaves):
    """Absolute error."""

    name = "reg:absoluteerror"
    default_metric = "mae"

    @property
    def leaf_quantiles(self) -> tuple[float, ...]:
        return (0.5,)

    @property
    def label_quantiles(self) -> tuple[float, ...]:
        return (0.5,)

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        weights = weights_of(rows)
        return np.asarray(np.sign(margins - labels_of(rows)) * weights, np.float32), weights

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return the median, rounded as XGBoost does, which multiplies it by the sum of weights and divides again."""
        assert quantiles is not None
        weight = total(sums)[0]
        if abs(weight) < 1e-6:
            return np.zeros(1, np.float32)
        multiplied = (quantiles.astype(np.float64) * weight).astype(np.float32)
        return np.asarray(multiplied.astype(np.float64) * (1 / weight), np.float32)


@dataclass(frozen=True)
class QuantileError(WithAdaptiveLeaves):
    """Pinball loss of several quantiles, one output for each.

    Raises:
        FlareError: no quantile is given, or one is not in [0, 1].
    """

    name = "reg:quantileerror"
    default_metric = "quantile"

    quantile_alpha: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.quantile_alpha or not all(0 <= each <= 1 for each in self.quantile_alpha):
            raise FlareError(f"quantile_alpha must be one or several numbers in [0, 1], not {self.quantile_alpha}")

    @property
    def outputs(self) -> int:
        return len(self.quantile_alpha)

    @property
    def leaf_quantiles(self) -> tuple[float, ...]:
        return tuple(float(np.float32(each)) for each in self.quantile_alpha)

    @property
    def label_quantiles(self) -> tuple[float, ...]:
        return self.leaf_quantiles

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        weights, alpha = weights_of(rows), np.array(self.quantile_alpha, np.float32)
        gradient = np.where(margins - labels_of(rows) >= 0, 1 - alpha, -alpha) * weights
        return gradient, np.ascontiguousarray(np.broadcast_to(weights, gradient.shape))

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        assert quantiles is not None
        return quantiles

    def config(self) -> dict[str, Any]:
        alpha = ",".join(str(np.float32(each)) for each in self.quantile_alpha)
        return {"name": self.name, "quantile_loss_param": {"quantile_alpha": f"[{alpha}]"}}

    def metric_parameters(self) -> Mapping[str, Any]:
        return {"quantile_alpha": self.quantile_alpha}
