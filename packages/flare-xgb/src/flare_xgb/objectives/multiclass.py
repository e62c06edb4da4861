"""Loss of several classes."""

from __future__ import annotations

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
    needed,
    weights_of,
)
from flare_xgb.objectives.libm import log
from flare_xgb.objectives.links import exponentials, softmax
from flare_xgb.objectives.sums import Sums, exact_sums, total


@dataclass(frozen=True)
class Softprob(Objective):
    """Cross entropy of classes 0, 1, …; predictions are probabilities, (n, classes).

    Raises:
        FlareError: there is no class.
    """

    name = "multi:softprob"
    default_metric = "mlogloss"

    num_class: int

    def __post_init__(self) -> None:
        if self.num_class < 1:
            raise FlareError(
                f"{self.name} needs the parameter num_class, the number of classes; it is {self.num_class}"
            )

    @property
    def outputs(self) -> int:
        """One for each class."""
        return self.num_class

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        # XGBoost's maximum begins with the least positive number, so it is positive even if all margins are negative.
        largest = margins.max(axis=1, keepdims=True, initial=np.finfo(np.float32).tiny)
        powers, sums = exponentials(margins, largest)
        p, weights = powers / sums, weights_of(rows)
        hessian = np.maximum(2 * p * (1 - p) * weights, np.float32(1e-16))
        gradient = np.where(np.arange(self.num_class) == labels_of(rows), p - 1, p) * weights
        return gradient, hessian

    def bounds(self, rows: Rows) -> Bounds:
        weight = largest_weight(rows)
        return Bounds(weight, max(weight / 2, 1e-15))

    def check(self, rows: Rows) -> None:
        label = needed(rows.label, "label", self.name)
        if not ((label >= 0) & (label < self.num_class) & (np.floor(label) == label)).all():
            raise LabelError(
                f"{self.name}: labels must be 0, 1, … {self.num_class - 1}; encode the classes, or set num_class"
            )

    def base_sums(self, rows: Rows) -> Sums:
        label, weight = labels_of(rows)[:, 0], weights_of(rows)[:, 0]
        return exact_sums(*(weight[label == each] for each in range(self.num_class)), weight)

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return the logarithms of the classes' shares, less their mean."""
        *of_classes, of_all = total(sums)
        if not of_all:
            return np.zeros(self.num_class, np.float32)
        shares = (np.asarray(of_classes, np.float32).astype(np.float64) * (1 / of_all)).astype(np.float32)
        logs = log(shares + np.float32(EPSILON))
        mean = np.float32(0)
        for each in logs:
            mean += each / np.float32(self.num_class)
        return np.asarray(logs - mean, np.float32)

    def transform(self, margins: Float32s) -> Float32s:
        return softmax(margins)

    def transform_for_metrics(self, margins: Float32s) -> Float32s:
        return softmax(margins)

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "softmax_multiclass_param": {"num_class": str(self.num_class)}}


class Softmax(Softprob):
    """Cross entropy of classes 0, 1, …; predictions are the likeliest classes, (n,)."""

    name = "multi:softmax"

    def transform(self, margins: Float32s) -> Float32s:
        return np.asarray(margins.argmax(axis=1), np.float32)
