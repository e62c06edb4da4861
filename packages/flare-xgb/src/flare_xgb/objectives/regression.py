"""Losses of numbers: squared error and its relatives, and logistic loss, which XGBoost counts among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_core import FlareError
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
    text,
    weights_of,
)
from flare_xgb.objectives.libm import exp, log1p
from flare_xgb.objectives.links import log_of_positive, logit, sigmoid
from flare_xgb.objectives.sums import Sums, total


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
        return {"name": self.name, "reg_loss_param": {"scale_pos_weight": text(self.scale_pos_weight)}}


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


class SquaredLogError(Objective):
    """Squared error of log(1 + x), halved, of labels greater than −1."""

    name = "reg:squaredlogerror"
    default_metric = "rmsle"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        margins = np.maximum(margins, np.float32(-1 + 1e-6))
        label, weights = labels_of(rows), weights_of(rows)
        of_margin, of_label = log1p(margins), log1p(label)
        steepness = (margins + 1).astype(np.float64)
        hessian = ((-of_margin + of_label + 1) / (steepness * steepness)).astype(np.float32)
        gradient = (of_margin - of_label) / (margins + 1)
        return gradient * weights, np.maximum(hessian, np.float32(1e-6)) * weights

    def check(self, rows: Rows) -> None:
        super().check(rows)
        if not (needed(rows.label, "label", self.name) > -1).all():
            raise LabelError(f"{self.name} needs labels greater than -1, and one is not; remove its row")


@dataclass(frozen=True)
class PseudoHuber(Objective):
    """Squared error near 0 that becomes linear beyond ``huber_slope``.

    Raises:
        FlareError: ``huber_slope`` is 0.
    """

    name = "reg:pseudohubererror"
    default_metric = "mphe"

    huber_slope: float = 1.0

    def __post_init__(self) -> None:
        if self.huber_slope == 0:
            raise FlareError("huber_slope must not be 0")

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        z, weights = margins - labels_of(rows), weights_of(rows)
        slope = np.float32(self.huber_slope) * np.float32(self.huber_slope)
        root = np.asarray(np.sqrt(1 + z * z / slope), np.float32)
        curvature = np.asarray(slope / ((slope + z * z) * root), np.float32)
        return z / root * weights, curvature * weights

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows) * 1.001  # rounding may lift a value above its bound
        return Bounds(abs(self.huber_slope) * weight, weight)

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "pseudo_huber_param": {"huber_slope": text(self.huber_slope)}}

    def metric_parameters(self) -> Mapping[str, Any]:
        return {"huber_slope": self.huber_slope}


class Hinge(Objective):
    """Hinge loss of labels 0 and 1; predictions are 0 or 1."""

    name = "binary:hinge"
    default_metric = "error"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        side, weights = labels_of(rows) * 2.0 - 1.0, weights_of(rows)
        wrong = margins * side.astype(np.float64) < 1
        gradient = np.where(wrong, -side * weights, 0).astype(np.float32)
        return gradient, np.where(wrong, weights, np.finfo(np.float32).tiny)

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows)
        return Bounds(weight, weight)

    def check(self, rows: Rows) -> None:
        label = needed(rows.label, "label", self.name)
        if not ((label == 0) | (label == 1)).all():
            raise LabelError(f"{self.name} needs labels 0 and 1, and one is neither; encode the classes so")

    def transform_score(self, margins: Float32s) -> Float32s:
        return np.asarray(margins > 0, np.float32)


def mean(sums: Sums) -> Float32s:
    """Return the mean, (1,), of the sums of weighted labels and of weights; 0 without rows."""
    numerator, denominator = total(sums)
    return np.array([numerator / denominator if denominator else 0.0], np.float32)
