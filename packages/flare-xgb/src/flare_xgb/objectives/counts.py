"""Losses of counts and amounts with a logarithmic link: Poisson and Tweedie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_core import FlareError
from flare_xgb.objectives.base import (
    Float32s,
    Gradients,
    LabelError,
    Objective,
    Rows,
    labels_of,
    mean_sums,
    needed,
    text,
    weights_of,
)
from flare_xgb.objectives.libm import exp, log
from flare_xgb.objectives.regression import mean
from flare_xgb.objectives.sums import Sums


class WithLogLink(Objective):
    """A loss of labels that are not negative; the base score is their mean."""

    def check(self, rows: Rows) -> None:
        super().check(rows)
        if not (needed(rows.label, "label", self.name) >= 0).all():
            raise LabelError(f"{self.name} needs labels of at least 0, and one is negative; remove its row")

    def base_sums(self, rows: Rows) -> Sums:
        return mean_sums(rows)

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        return mean(sums)

    def to_margin(self, score: Float32s) -> Float32s:
        """Return the logarithm: −infinity if all labels are 0."""
        return log(score)

    def transform_score(self, margins: Float32s) -> Float32s:
        return exp(margins)


@dataclass(frozen=True)
class Poisson(WithLogLink):
    """Negative log-likelihood of counts; the second derivative is e^``max_delta_step`` times too great, as a brake."""

    name = "count:poisson"
    default_metric = "poisson-nloglik"

    max_delta_step: float = 0.7

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        weights = weights_of(rows)
        step = np.float32(self.max_delta_step)
        return (exp(margins) - labels_of(rows)) * weights, exp(margins + step) * weights

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "poisson_regression_param": {"max_delta_step": text(self.max_delta_step)}}


@dataclass(frozen=True)
class Tweedie(WithLogLink):
    """Deviance of the compound Poisson-gamma distribution with variance mean^``tweedie_variance_power``.

    Raises:
        FlareError: the power is not in [1, 2).
    """

    name = "reg:tweedie"

    tweedie_variance_power: float = 1.5

    def __post_init__(self) -> None:
        if not 1 <= self.tweedie_variance_power < 2:
            raise FlareError(f"tweedie_variance_power must be in [1, 2), not {self.tweedie_variance_power}")

    @property
    def default_metric(self) -> str:
        return f"tweedie-nloglik@{self.tweedie_variance_power:g}"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        power, weights = np.float32(self.tweedie_variance_power), weights_of(rows)
        one, two = 1 - power, 2 - power
        of_label, of_mean, minus = exp(one * margins), exp(two * margins), -labels_of(rows)
        return (minus * of_label + of_mean) * weights, (minus * one * of_label + two * of_mean) * weights

    def config(self) -> dict[str, Any]:
        power = text(self.tweedie_variance_power)
        return {"name": self.name, "tweedie_regression_param": {"tweedie_variance_power": power}}
