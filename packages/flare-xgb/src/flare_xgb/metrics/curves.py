"""Areas under curves: auc."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flare_xgb.metrics.base import Metric, row_weights
from flare_xgb.objectives.base import Float32s, LabelError, Rows
from flare_xgb.objectives.sums import Sums, exact_sums, total

__all__ = ["AUC"]

Float64s = NDArray[np.float64]


class AUC(Metric):
    """Area under the receiver operating characteristic, by XGBoost's rule for rows in several places.

    Every site compares the positives with the negatives of its own, and the value is the share of pairs in the right
    order: the mean of the sites' areas, weighted by the numbers (weights) of pairs. It is the area of the pooled rows
    if there is one site, and else depends on which rows are together. Sites whose rows are all of one class have no
    pairs and no part in it.
    """

    name = "auc"
    maximize = True

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        if rows.label is None:
            raise LabelError("auc needs the column label, and the data have none")
        false, true = _curve(predictions, rows.label, row_weights(rows))
        if not false[-1] > 0 or not true[-1] > 0:
            return exact_sums(0.0, 0.0)
        area = float((np.abs(np.diff(false)) * (true[:-1] + true[1:])).sum()) * 0.5
        return exact_sums(area, float(false[-1] * true[-1]))

    def finish(self, sums: Sums) -> float:
        area, pairs = total(sums)
        return min(1.0, float(area / pairs)) if pairs else float("nan")


def _curve(predictions: Float32s, label: Float32s, weights: Float32s) -> tuple[Float64s, Float64s]:
    """Return the weights of false and true positives, from none on, at each threshold of distinct predictions."""
    order = np.argsort(-predictions, kind="stable")
    ordered, label, weights = predictions[order], label[order], weights[order]
    last = np.append(np.diff(ordered) != 0, True)[: len(ordered)]
    sums = (np.cumsum(each * weights, dtype=np.float64)[last] for each in (1 - label, label))
    false, true = (np.concatenate(([0.0], each)) for each in sums)
    return false, true
