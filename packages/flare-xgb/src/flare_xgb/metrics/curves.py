"""Areas under curves: of the receiver operating characteristic, and of precision over recall.

An area compares each row with all others, and does not add up over sites without showing how their predictions are
spread. As in XGBoost's distributed evaluation, each site compares its own rows, and the areas are averaged: the value
is the area of the pooled rows if they are in one place, and else depends on which rows are together.
"""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb._jit import kernel
from flare_xgb.metrics.base import Metric, row_weights
from flare_xgb.objectives.base import Float32s, LabelError, Rows
from flare_xgb.objectives.libm import log
from flare_xgb.objectives.sums import Sums, exact_sums, total

Float64s = NDArray[np.float64]


class Area(Metric):
    """A mean of areas.

    Sums are, for each class against the rest (one, if there are two classes): the area, its weight, and the weight of
    the class among classes. With groups, they are the sum of the groups' areas and the number of groups. A site with
    rows of one class alone has no area and no part in the mean.
    """

    maximize = True

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        if rows.label is None:
            raise LabelError(f"{self.name} needs the column label, and the data have none")
        if rows.qid is not None:
            areas = [
                self.of_group(predictions[low:high], rows.label[low:high])
                for low, high in pairwise(rows.group_starts)
                if high > low
            ]
            areas = [each for each in areas if not np.isnan(each)]
            return exact_sums(areas, float(len(areas)), float(len(areas)))
        weights = row_weights(rows)
        if predictions.ndim == 1:
            return exact_sums(*self.of_class(predictions, rows.label, weights))
        parts: list[float] = []
        for each, column in enumerate(predictions.T):
            parts.extend(self.of_class(column, (rows.label == each).astype(np.float32), weights))
        return exact_sums(*parts)

    def finish(self, sums: Sums) -> float:
        area, weight, prevalence = total(sums).reshape(-1, 3).T
        if not (weight > 0).all():
            return float("nan")
        return min(1.0, float((area / weight * prevalence).sum() / prevalence.sum()))

    @abstractmethod
    def of_class(self, predictions: Float32s, label: Float32s, weights: Float32s) -> tuple[float, float, float]:
        """Return the area, times its weight; its weight; and the weight of the class. All 0 if there is no area."""

    @abstractmethod
    def of_group(self, predictions: Float32s, label: Float32s) -> float:
        """Return the area of a group of a ranking, or NaN if it has none."""


class AUC(Area):
    """Area under the receiver operating characteristic.

    It is the share of pairs of a positive and a negative row that are in the right order, so sites count by the number
    (weight) of their pairs. In a ranking, pairs are any two rows of a group, and all groups of at least 3 count alike.
    """

    name = "auc"

    def of_class(self, predictions: Float32s, label: Float32s, weights: Float32s) -> tuple[float, float, float]:
        false, true = _curve(predictions, label, weights)
        if not false[-1] > 0 or not true[-1] > 0:
            return 0.0, 0.0, 0.0
        area = float((np.diff(false) * (true[:-1] + true[1:]) * 0.5).sum())
        return area, float(false[-1] * true[-1]), float(true[-1])

    def of_group(self, predictions: Float32s, label: Float32s) -> float:
        if len(label) < 3:
            return float("nan")
        return float(_share_in_order(predictions[np.argsort(-label, kind="stable")]))


class AUCPR(Area):
    """Area under the curve of precision over recall, interpolated between thresholds; all sites count alike.

    Source: Keilwagen, Grosse and Grau 2014, "Area under precision-recall curves for weighted and unweighted data".
    """

    name = "aucpr"

    def of_class(self, predictions: Float32s, label: Float32s, weights: Float32s) -> tuple[float, float, float]:
        false, true = _curve(predictions, label, weights)
        if not false[-1] > 0 or not true[-1] > 0:
            return 0.0, 0.0, 0.0
        return float(_under_precision(false, true).sum()), 1.0, 1.0

    def of_group(self, predictions: Float32s, label: Float32s) -> float:
        if ((label < 0) | (label > 1)).any():
            raise LabelError("aucpr of a ranking needs labels in [0, 1], and one is not; use ndcg for grades")
        area, weight, _ = self.of_class(predictions, label, np.ones(len(label), np.float32))
        return area if weight else float("nan")


def _curve(predictions: Float32s, label: Float32s, weights: Float32s) -> tuple[Float64s, Float64s]:
    """Return the weights of false and true positives, from none on, at each threshold of distinct predictions."""
    order = np.argsort(-predictions, kind="stable")
    ordered, label, weights = predictions[order], label[order], weights[order]
    last = np.append(np.diff(ordered) != 0, True)[: len(ordered)]
    sums = (np.cumsum(each * weights, dtype=np.float64)[last] for each in (1 - label, label))
    false, true = (np.concatenate(([0.0], each)) for each in sums)
    return false, true


def _under_precision(false: Float64s, true: Float64s) -> Float64s:
    """Return the area between each two thresholds, along a hyperbola between the points."""
    recall = true / true[-1]
    width = np.diff(recall)
    rises = np.diff(true) != 0
    slope = np.zeros(len(width))
    np.divide(np.diff(false), np.diff(true), out=slope, where=rises)
    a = np.where(rises, slope + 1, 1.0)
    b = np.where(rises, (false[:-1] - slope * true[:-1]) / true[-1], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = (width - b / a * (log(a * recall[1:] + b) - log(a * recall[:-1] + b))) / a
    return np.asarray(np.where(b != 0, curved, width / a), np.float64)


@kernel
def _share_in_order(predictions: Any) -> float:
    """Return the share of pairs whose first has the greater prediction; equal ones count half."""
    right = pairs = 0.0
    for i in range(len(predictions)):
        for j in range(i + 1, len(predictions)):
            right += 1.0 if predictions[i] > predictions[j] else 0.5 if predictions[i] == predictions[j] else 0.0
            pairs += 1.0
    return np.float64(right / pairs)
