"""Metrics of rankings: precision, discounted gain and average precision of a group's leading rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flare_xgb.metrics.base import Metric, labels_for
from flare_xgb.objectives.base import Float32s, Rows
from flare_xgb.objectives.ranking import check_binary, check_grades, discounts, gains, group_weights, inverse_ideal
from flare_xgb.objectives.sums import Sums, exact_sums, total

Float64s = NDArray[np.float64]


@dataclass(frozen=True)
class MeanOfGroups(Metric):
    """A weighted mean over groups, whose rows lie at one site each.

    Args:
        top: how many leading rows count; None means all.
        suffix: of the name, ``@3-``, for example.
        minus: a group without relevant rows counts 0 and not 1.
    """

    maximize = True
    kind = ""

    top: int | None = 32
    suffix: str = ""
    minus: bool = False

    @property
    def name(self) -> str:
        return self.kind + self.suffix

    def sums(self, predictions: Float32s, rows: Rows) -> Sums:
        label = labels_for(predictions, rows, self.name)
        weights = group_weights(rows).astype(np.float64)
        starts = rows.group_starts
        groups = np.repeat(np.arange(len(weights)), np.diff(starts))
        ranked = label[np.lexsort((-predictions, groups))]
        place = np.arange(len(label)) - starts[groups]
        filled = np.diff(starts) > 0
        scores = self.scores(ranked, groups, place, starts, weights)
        return exact_sums(scores[filled], weights[filled])

    @abstractmethod
    def scores(
        self,
        ranked: Float32s,
        groups: NDArray[np.int64],
        place: NDArray[np.int64],
        starts: NDArray[np.int64],
        weights: Float64s,
    ) -> Float64s:
        """Return the weighted score of each group.

        Args:
            ranked: (n,), labels by group, and in it by falling prediction.
            groups: (n,), the group of each.
            place: (n,), the place in its group.
            starts: (groups + 1,).
            weights: (groups,).
        """

    def leading(self, place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which places count."""
        return place < self.top if self.top is not None else place >= 0

    def without_relevant(self, relevant: Float64s, scores: Float64s) -> Float64s:
        """Return scores, and what counts instead in groups without relevant rows."""
        return np.where(relevant > 0, scores, 0.0 if self.minus else 1.0)

    def finish(self, sums: Sums) -> float:
        score, weight = total(sums)
        return min(1.0, float(score / weight if weight > 0 else score))


class Precision(MeanOfGroups):
    """Share of relevant rows among the leading ones, of labels 0 and 1."""

    kind = "pre"

    def scores(
        self,
        ranked: Float32s,
        groups: NDArray[np.int64],
        place: NDArray[np.int64],
        starts: NDArray[np.int64],
        weights: Float64s,
    ) -> Float64s:
        check_binary(ranked, self.name)
        counted = np.diff(starts) if self.top is None else np.minimum(np.diff(starts), self.top)
        hits = np.bincount(groups, np.where(self.leading(place), ranked, 0), len(weights))
        return hits * weights / np.maximum(counted, 1)


@dataclass(frozen=True)
class NDCG(MeanOfGroups):
    """Normalized discounted cumulative gain.

    Args:
        exp_gain: a grade r gains 2^r − 1, and not r.
    """

    kind = "ndcg"

    exp_gain: bool = True

    def scores(
        self,
        ranked: Float32s,
        groups: NDArray[np.int64],
        place: NDArray[np.int64],
        starts: NDArray[np.int64],
        weights: Float64s,
    ) -> Float64s:
        if self.exp_gain:
            check_grades(ranked, self.name)
        gain = gains(ranked, self.exp_gain)
        inverse = inverse_ideal(gain, starts, self.top)
        terms = np.where(self.leading(place), gain * discounts(starts)[place], 0)
        # As in XGBoost, the weight of a group without gains does not multiply what it counts.
        return self.without_relevant(inverse, np.bincount(groups, terms, len(weights)) * inverse * weights)


class MAP(MeanOfGroups):
    """Mean average precision, of labels 0 and 1."""

    kind = "map"

    def scores(
        self,
        ranked: Float32s,
        groups: NDArray[np.int64],
        place: NDArray[np.int64],
        starts: NDArray[np.int64],
        weights: Float64s,
    ) -> Float64s:
        check_binary(ranked, self.name)
        label = ranked.astype(np.float64)
        sums = np.concatenate(([0.0], np.cumsum(label)))
        hits = sums[1:] - sums[starts[groups]]
        terms = np.where(self.leading(place), hits / (place + 1) * label, 0)
        relevant = np.asarray(np.bincount(groups, label, len(weights)), np.float64)
        possible = relevant if self.top is None else np.minimum(relevant, self.top)
        scores = np.bincount(groups, terms, len(weights)) / np.where(possible > 0, possible, 1)
        return self.without_relevant(relevant, scores) * weights
