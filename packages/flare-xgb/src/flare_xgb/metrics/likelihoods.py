"""Means over rows of negative log-likelihoods, deviances and the losses of particular objectives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_core import FlareError
from flare_xgb.metrics.base import MeanOfRows, Metric, labels_for, row_weights
from flare_xgb.objectives.base import EPSILON, Float32s, LabelError, Rows
from flare_xgb.objectives.libm import exp, lgamma, log
from flare_xgb.objectives.sums import Sums, exact_sums, total


class PoissonLikelihood(MeanOfRows):
    """Mean of negative log-likelihoods of counts."""

    name = "poisson-nloglik"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label = labels_for(predictions, rows, self.name)
        means = np.maximum(predictions, np.float32(1e-16))
        factorial = lgamma((label + 1).astype(np.float64)).astype(np.float32)
        return factorial + means - log(means) * label


class GammaLikelihood(MeanOfRows):
    """Mean of negative log-likelihoods of the gamma distribution with a dispersion of 1."""

    name = "gamma-nloglik"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label = labels_for(predictions, rows, self.name)
        theta = np.asarray(-1 / np.maximum(predictions, np.float32(1e-6)), np.float32)
        return -(label * theta + log(-theta))


class GammaDeviance(MeanOfRows):
    """Mean deviance of the gamma distribution."""

    name = "gamma-deviance"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        tiny = np.float32(EPSILON)
        label, means = labels_for(predictions, rows, self.name) + tiny, predictions + tiny
        return log(np.asarray(means / label, np.float32)) + label / means - 1

    def finish(self, sums: Sums) -> float:
        loss, weight = total(sums)
        return float(2 * loss / (weight if weight > 0 else EPSILON))


@dataclass(frozen=True)
class TweedieLikelihood(MeanOfRows):
    """Mean of negative log-likelihoods of a Tweedie distribution, but for a constant.

    Args:
        power: of the mean that the variance is; in [1, 2).
    Raises:
        FlareError: the power is another.
    """

    power: float

    def __post_init__(self) -> None:
        if not 1 <= self.power < 2:
            raise FlareError(f"tweedie-nloglik@{self.power:g}: the power must be in [1, 2)")

    @property
    def name(self) -> str:
        return f"tweedie-nloglik@{self.power:g}"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        label, power = labels_for(predictions, rows, self.name), np.float32(self.power)
        logs = log(predictions)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_label = label * exp((1 - power) * logs) / (1 - power)
        return exp((2 - power) * logs) / (2 - power) - of_label


@dataclass(frozen=True)
class MeanPseudoHuber(MeanOfRows):
    """Mean of pseudo-Huber losses.

    Args:
        slope: beyond which the loss is linear; not 0.
    """

    slope: float = 1.0

    name = "mphe"

    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        slope = np.float32(self.slope)
        z = (labels_for(predictions, rows, self.name) - predictions) / slope
        return np.asarray(slope * slope * (np.sqrt(1 + z * z) - 1), np.float32)


@dataclass(frozen=True)
class Pinball(Metric):
    """Mean of the losses of all quantiles; predictions are (n, quantiles), or (n,) for one.

    Args:
        alphas: the quantiles.
    Raises:
        FlareError: there are none.
    """

    alphas: tuple[float, ...]

    name = "quantile"

    def __post_init__(self) -> None:
        if not self.alphas:
            raise FlareError("the metric quantile needs the parameter quantile_alpha; give it")

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        if rows.label is None:
            raise LabelError("quantile needs the column label, and the data have none")
        alphas = np.array(self.alphas, np.float32)
        if predictions.size != len(rows.label) * len(alphas):
            raise LabelError(f"quantile needs {len(alphas)} predictions for each row, and they are {predictions.shape}")
        above = rows.label[:, None] - predictions.reshape(-1, len(alphas))
        loss = np.where(above >= 0, alphas * above, -((1 - alphas) * above))
        weights = np.broadcast_to(row_weights(rows)[:, None], loss.shape)
        return exact_sums(loss * weights, weights)

    def finish(self, sums: Sums) -> float:
        loss, weight = total(sums)
        return float(loss / weight) if weight else float("nan")
