"""Losses of numbers: squared error and its relatives, and logistic loss, which XGBoost counts among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_xgb.objectives.base import (
    EPSILON,
    Bounds,
    Float32s,
    Gradients,
    LabelError,
    Objective,
    Rows,
    labels_of,
    largest_weight,
    mean_sums,
    needed,
    weights_of,
)
from flare_xgb.objectives.libm import exp
from flare_xgb.objectives.links import log_of_positive, logit, sigmoid
from flare_xgb.objectives.sums import Sums, total

__all__ = [
    "Gamma",
    "Logistic",
    "LogisticOfNumbers",
    "LogisticRaw",
    "SquaredError",
]


@dataclass(frozen=True)
class WithPositives(Objective):
    """A loss whose rows of label 1 weigh ``scale_pos_weight`` times as much."""

    scale_pos_weight: float = 1.0

    def weights(self, rows: Rows) -> Float32s:
        """Return the weights of the rows, (n, 1)."""
        scale = np.where(labels_of(rows) == 1, np.float32(self.scale_pos_weight), np.float32(1))
        return weights_of(rows) * scale

    @property
    def from_mean(self) -> bool:
        """The base score is the mean of labels, and not a step of Newton's method from a margin of 0."""
        return abs(self.scale_pos_weight - 1) <= EPSILON

    def base_sums(self, rows: Rows) -> Sums:
        return mean_sums(rows) if self.from_mean else super().base_sums(rows)

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        return mean(sums) if self.from_mean else super().base_score(sums)

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "reg_loss_param": {"scale_pos_weight": f"{self.scale_pos_weight:.9g}"}}


class SquaredError(WithPositives):
    """Squared error, halved."""

    name = "reg:squarederror"
    default_metric = "rmse"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        weights = self.weights(rows)
        return (margins - labels_of(rows)) * weights, weights


class Logistic(WithPositives):
    """Logistic loss of labels in [0, 1]."""

    name = "binary:logistic"
    default_metric = "logloss"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        p, weights = sigmoid(margins), self.weights(rows)
        return (p - labels_of(rows)) * weights, np.maximum(p * (1 - p), np.float32(1e-16)) * weights

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows) * max(1.0, self.scale_pos_weight)
        return Bounds(weight, weight / 4)

    def check(self, rows: Rows) -> None:
        label = needed(rows.label, "label", self.name)
        if not ((label >= 0) & (label <= 1)).all():
            raise LabelError(f"{self.name} needs labels in [0, 1], and one is not; encode the classes as 0 and 1")

    def to_margin(self, score: Float32s) -> Float32s:
        return logit(score, self.name)

    def transform_score(self, margins: Float32s) -> Float32s:
        return sigmoid(margins)


class LogisticOfNumbers(Logistic):
    """Logistic loss of labels in [0, 1], which are taken for numbers."""

    name = "reg:logistic"
    default_metric = "rmse"


class LogisticRaw(Logistic):
    """Logistic loss with margins as predictions; a base score is a margin too, and estimated as the mean of labels."""

    name = "binary:logitraw"

    def to_margin(self, score: Float32s) -> Float32s:
        return score

    def transform_score(self, margins: Float32s) -> Float32s:
        return margins


class Gamma(WithPositives):
    """Deviance of the gamma distribution, with a logarithmic link."""

    name = "reg:gamma"
    default_metric = "gamma-deviance"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        ratio, weights = labels_of(rows) / exp(margins), self.weights(rows)
        return (1 - ratio) * weights, ratio * weights

    def check(self, rows: Rows) -> None:
        super().check(rows)
        if not (needed(rows.label, "label", self.name) > 0).all():
            raise LabelError(f"{self.name} needs positive labels, and one is not; remove its row")

    def to_margin(self, score: Float32s) -> Float32s:
        return log_of_positive(score, self.name)

    def transform_score(self, margins: Float32s) -> Float32s:
        return exp(margins)


def mean(sums: Sums) -> Float32s:
    """Return the mean, (1,), of the sums of weighted labels and of weights; 0 without rows."""
    numerator, denominator = total(sums)
    return np.array([numerator / denominator if denominator else 0.0], np.float32)
