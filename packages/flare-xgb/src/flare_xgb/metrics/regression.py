"""Means over rows for regression and for binary classification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_xgb.metrics.base import MeanOfRows, labels_for
from flare_xgb.objectives.base import Float32s, Rows
from flare_xgb.objectives.libm import log, log1p
from flare_xgb.objectives.sums import Sums


class RMSE(MeanOfRows):
    """Root of the mean of squared errors."""

    name = "rmse"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        error = labels_for(predictions, rows, self.name) - predictions
        return error * error

    def finish(self, sums: Sums) -> float:
        return float(np.sqrt(super().finish(sums)))


class RMSLE(RMSE):
    """Root of the mean of squared errors of log(1 + x)."""

    name = "rmsle"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        error = log1p(labels_for(predictions, rows, self.name)) - log1p(predictions)
        return error * error


class MAE(MeanOfRows):
    """Mean of absolute errors."""

    name = "mae"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        return np.asarray(np.abs(labels_for(predictions, rows, self.name) - predictions), np.float32)


class MAPE(MeanOfRows):
    """Mean of absolute errors, each relative to the label."""

    name = "mape"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label = labels_for(predictions, rows, self.name)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.abs((label - predictions) / label), np.float32)


class LogLoss(MeanOfRows):
    """Mean of negative log-likelihoods of a binary label."""

    name = "logloss"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label = labels_for(predictions, rows, self.name)
        return _times_log(-label, predictions) + _times_log(-(1 - label), 1 - predictions)


@dataclass(frozen=True)
class Error(MeanOfRows):
    """Share of rows whose prediction is on the wrong side of a threshold."""

    threshold: float = 0.5

    @property
    def name(self) -> str:
        return "error" if self.threshold == 0.5 else f"error@{self.threshold:g}"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label = labels_for(predictions, rows, self.name)
        return np.where(predictions > np.float32(self.threshold), 1 - label, label)


def _times_log(x: Float32s, y: Float32s) -> Float32s:
    return np.where(x == 0, np.float32(0), x * log(np.maximum(y, np.float32(1e-16))))
