"""Metric: sums over the rows of a site that add up over the sites, and what is made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from flare_xgb.objectives.base import Float32s, LabelError, Rows, weights_of
from flare_xgb.objectives.sums import Sums, exact_sums, total


class Metric(ABC):
    """An evaluation metric, by XGBoost's name.

    Every site sums over its rows, the sums of the sites add up with ``+``, and the total gives the value. Sums are
    exact (see ``objectives.sums``), so the value has the same bits in whatever order sites are added, and, unless a
    metric's documentation says otherwise, for any deal of the rows.

    Attributes:
        maximize: a greater value is better.
    """

    maximize: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """As XGBoost prints it, such as ``error@0.7``."""

    @abstractmethod
    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        """Return sums over these rows.

        Args:
            predictions: of ``Objective.transform_for_metrics``.
            rows: labels and weights.
        Raises:
            LabelError: the metric does not suit the predictions or labels.
        """

    @abstractmethod
    def finish(self, sums: Sums) -> float:
        """Return the value, of the sums over all rows; NaN if it is not defined, as of an AUC without positives."""

    def __call__(self, predictions: Float32s, rows: Rows) -> float:
        """Return the value of these rows alone."""
        return self.finish(self.sums(predictions, rows))


class MeanOfRows(Metric):
    """A weighted mean of what each row contributes."""

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        weights = row_weights(rows)
        return exact_sums(self.losses(predictions, rows) * weights, weights)

    @abstractmethod
    def losses(self, predictions: Float32s, rows: Rows) -> Float32s:
        """Return each row's loss, (n,)."""

    def finish(self, sums: Sums) -> float:
        loss, weight = total(sums)
        return float(loss / weight) if weight else float(loss)


def labels_for(predictions: Float32s, rows: Rows, metric: str) -> Float32s:
    """Return the labels, (n,), of as many predictions.

    Raises:
        LabelError: there are none, or there are several predictions for each.
    """
    if rows.label is None:
        raise LabelError(f"{metric} needs the column label, and the data have none")
    if predictions.shape != rows.label.shape:
        raise LabelError(
            f"{metric} compares one prediction with each label, and here {predictions.shape} are given for"
            f" {rows.label.shape}; for several classes use merror or mlogloss"
        )
    return rows.label


def row_weights(rows: Rows) -> Float32s:
    """Return the weights of the rows, (n,).

    Raises:
        LabelError: weights are of groups, which only metrics of rankings can use.
    """
    return weights_of(rows)[:, 0]
