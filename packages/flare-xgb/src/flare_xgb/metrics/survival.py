"""Metrics of times until an event."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flare_xgb.metrics.base import Metric, labels_for, row_weights
from flare_xgb.objectives.base import Float32s, Rows
from flare_xgb.objectives.libm import exp, log
from flare_xgb.objectives.sums import Sums, exact_sums, total
from flare_xgb.objectives.survival import AFT, censored, times_of


class CoxLikelihood(Metric):
    """Negative logarithm of the partial likelihood, for each event; weights are not used.

    A site's rows are compared with its own, as in the objective: the value of the rows of one place is XGBoost's, and
    that of several sites, for which XGBoost has none, is that of a model with the sites as strata.
    """

    name = "cox-nloglik"

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        label = labels_for(predictions, rows, self.name)
        order = np.argsort(np.abs(label), kind="stable")
        times, hazards = np.abs(label[order]), predictions[order].astype(np.float64)
        at_risk = np.cumsum(hazards[::-1])[::-1][np.searchsorted(times, times)]
        event = label[order] > 0
        logs = log(predictions[order][event]).astype(np.float64)
        return exact_sums(log(at_risk[event]) - logs, float(event.sum()))

    def finish(self, sums: Sums) -> float:
        loss, events = total(sums)
        return float(loss / events) if events else float("nan")


class MeanOfTimes(Metric):
    """A weighted mean of what each row contributes, in float64."""

    def finish(self, sums: Sums) -> float:
        loss, weight = total(sums)
        return float(loss / weight) if weight else float(loss)

    def weighted(self, losses: NDArray[np.float64], rows: Rows) -> Sums:
        """Return the sums of the weighted losses and of the weights."""
        weights = row_weights(rows).astype(np.float64)
        return exact_sums(losses * weights, weights)


@dataclass(frozen=True)
class AFTLikelihood(MeanOfTimes):
    """Mean of negative log-likelihoods of an accelerated failure time; predictions are margins.

    Args:
        objective: has the distribution of the noise and its scale.
    """

    objective: AFT = field(default_factory=AFT)

    name = "aft-nloglik"

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        lower, upper = times_of(rows, self.name)
        distribution, scale, margins = self.objective.distribution, self.objective.scale, predictions.astype(np.float64)
        with np.errstate(all="ignore"):
            z_lower, z_upper = (log(lower) - margins) / scale, (log(upper) - margins) / scale
            of_events = distribution.density(z_lower) / (scale * lower)
            of_censored, _, _ = censored(distribution, z_lower, z_upper)
        likelihood = np.where(lower == upper, of_events, of_censored)
        return self.weighted(-log(np.asarray(np.fmax(likelihood, 1e-12), np.float64)), rows)


class IntervalAccuracy(MeanOfTimes):
    """Share of rows whose predicted time lies between the bounds; predictions are margins.

    A greater value is better, although XGBoost's early stopping takes it for a loss unless it is told.
    """

    name = "interval-regression-accuracy"
    maximize = True

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        lower, upper = times_of(rows, self.name)
        times = exp(predictions.astype(np.float64))
        return self.weighted(np.asarray((times >= lower) & (times <= upper), np.float64), rows)
