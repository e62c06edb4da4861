"""Means over rows for several classes; predictions are probabilities, (n, classes)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flare_xgb.metrics.base import MeanOfRows
from flare_xgb.objectives.base import Float32s, LabelError, Rows
from flare_xgb.objectives.libm import log


class MultiError(MeanOfRows):
    """Share of rows whose likeliest class is not theirs."""

    name = "merror"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        classes, predictions = _classes(predictions, rows, self.name)
        return np.asarray(predictions.argmax(axis=1) != classes, np.float32)


class MultiLogLoss(MeanOfRows):
    """Mean of negative log-likelihoods of the class."""

    name = "mlogloss"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        classes, predictions = _classes(predictions, rows, self.name)
        likelihood = np.asarray(predictions[np.arange(len(classes)), classes], np.float32)
        return -log(np.maximum(likelihood, np.float32(1e-16)))


def _classes(predictions: Float32s, rows: Rows, metric: str) -> tuple[NDArray[np.int64], Float32s]:
    if rows.label is None:
        raise LabelError(f"{metric} needs the column label, and the data have none")
    if predictions.ndim != 2:
        raise LabelError(f"{metric} needs the probabilities of several classes; for two use error or logloss")
    classes = rows.label.astype(np.int64)
    if ((classes < 0) | (classes >= predictions.shape[1])).any():
        raise LabelError(f"{metric}: labels must be 0, 1, … {predictions.shape[1] - 1}; encode the classes")
    return classes, predictions
