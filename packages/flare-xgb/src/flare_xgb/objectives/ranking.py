"""Losses of rankings: pairs of a group's rows, weighted by what a swap would change in a metric.

Source: Burges 2010, "From RankNet to LambdaRank to LambdaMART: An Overview".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_core import FlareError
from flare_xgb.objectives.base import (
    Float32s,
    Gradients,
    LabelError,
    Objective,
    Rows,
    needed,
    stump,
    stump_sums,
)
from flare_xgb.objectives.libm import log2
from flare_xgb.objectives.pairs import MAP, NDCG, PAIRWISE, lambda_gradients
from flare_xgb.objectives.sums import Sums, exact_sums, total

TOP, SAMPLED = "topk", "mean"
_NOT_SET = 2**32 - 1


@dataclass(frozen=True)
class Ranking(Objective):
    """A loss of rankings.

    A group's rows lie at one site. XGBoost scales weights of groups by their mean, which is that of all sites here:
    :meth:`agreed` takes it from the sums. With the method ``mean`` the pairs are drawn by XGBoost's generator from the
    number of a group at its site, hence differently if groups are dealt differently; with ``topk`` nothing is drawn.

    Args:
        lambdarank_pair_method: ``topk``, or ``mean``.
        lambdarank_num_pair_per_sample: how many leading rows are compared with all, 32 by default; or with ``mean``,
            how many pairs are drawn for each row, 1 by default.
        lambdarank_normalization: scale the gradients of each group.
        lambdarank_score_normalization: divide the weight of a pair by the difference of the margins.
        lambdarank_unbiased: must be False.
        ndcg_exp_gain: a grade r gains 2^r − 1, and not r.
        mean_weight: of all groups; None if it is not agreed yet, and then groups cannot have weights.
    Raises:
        FlareError: a parameter has a value that it cannot have; names it.
    """

    together = "groups"

    lambdarank_pair_method: str = TOP
    lambdarank_num_pair_per_sample: int | None = None
    lambdarank_normalization: bool = True
    lambdarank_score_normalization: bool = True
    lambdarank_unbiased: bool = False
    ndcg_exp_gain: bool = True
    mean_weight: float | None = None

    def __post_init__(self) -> None:
        if self.lambdarank_pair_method not in (TOP, SAMPLED):
            raise FlareError(f"lambdarank_pair_method must be {TOP} or {SAMPLED}, not {self.lambdarank_pair_method!r}")
        if self.lambdarank_num_pair_per_sample is not None and self.lambdarank_num_pair_per_sample < 1:
            raise FlareError("lambdarank_num_pair_per_sample must be at least 1")
        if self.lambdarank_unbiased:
            raise FlareError(
                "lambdarank_unbiased is not supported, as the bias of positions depends on the clicks of all sites;"
                " leave it out"
            )

    @property
    def num_pairs(self) -> int:
        """The number of leading rows, or of pairs for each row."""
        if self.lambdarank_num_pair_per_sample is not None:
            return self.lambdarank_num_pair_per_sample
        return 32 if self.lambdarank_pair_method == TOP else 1

    @property
    def top(self) -> int | None:
        """How many leading rows are compared, or None if pairs are drawn."""
        return self.num_pairs if self.lambdarank_pair_method == TOP else None

    def metric_named(self, name: str) -> str:
        """Return the name of a metric that counts the leading rows."""
        return name if self.top is None else f"{name}@{self.top}"

    def gradients(self, margins: Float32s, rows: Rows, round: int = 0) -> Gradients:
        label = needed(rows.label, "label", self.name)
        if self.mean_weight is None and rows.weight is not None:
            raise FlareError(
                f"{self.name} scales weights of groups by their mean over all sites, which is not known here; leave the"
                " weights out"
            )
        starts, weights = rows.group_starts, group_weights(rows)
        kind, gain, scale_of_group = self.weighing(label, starts)
        gradient, hessian = lambda_gradients(
            np.ascontiguousarray(margins[:, 0]),
            label,
            starts,
            weights,
            np.float32(1 / (self.mean_weight or 1)),
            kind,
            gain,
            discounts(starts),
            scale_of_group,
            self.num_pairs,
            self.top is not None,
            self.lambdarank_normalization,
            self.lambdarank_score_normalization,
            round,
        )
        return gradient[:, None], hessian[:, None]

    def weighing(
        self, label: Float32s, starts: NDArray[np.int64]
    ) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Return how pairs are weighed, each row's gain, and a scale for each group."""
        return PAIRWISE, np.zeros(len(label)), np.ones(len(starts) - 1)

    def agreed(self, sums: Sums) -> Objective:
        """Return this objective with the mean weight of all groups."""
        *_, groups, weight = total(sums)
        return replace(self, mean_weight=float(weight / groups) if groups and weight else 1.0)

    def base_sums(self, rows: Rows) -> Sums:
        weights = group_weights(rows)
        whatever_the_mean = replace(self, mean_weight=1.0)
        return np.concatenate([stump_sums(whatever_the_mean, rows), exact_sums(float(len(weights)), weights)])

    def base_score(self, sums: Sums, quantiles: Float32s | None = None) -> Float32s:
        """Return what a tree without splits gives: 0, but for rounding."""
        return stump(sums[:2])

    def config(self) -> dict[str, Any]:
        pairs = self.lambdarank_num_pair_per_sample
        parameters = {
            "lambdarank_bias_norm": "1",
            "lambdarank_normalization": str(int(self.lambdarank_normalization)),
            "lambdarank_num_pair_per_sample": str(_NOT_SET if pairs is None else pairs),
            "lambdarank_pair_method": self.lambdarank_pair_method,
            "lambdarank_score_normalization": str(int(self.lambdarank_score_normalization)),
            "lambdarank_unbiased": "0",
            "ndcg_exp_gain": str(int(self.ndcg_exp_gain)),
        }
        return {"name": self.name, "lambdarank_param": parameters}

    def metric_parameters(self) -> Mapping[str, Any]:
        """Return the kind of gain, and ``ndcg_top`` if pairs are drawn: the default metric counts all places then."""
        return {"ndcg_exp_gain": self.ndcg_exp_gain, **({} if self.top is not None else {"ndcg_top": None})}


class RankPairwise(Ranking):
    """Logistic loss of pairs in the wrong order."""

    name = "rank:pairwise"

    @property
    def default_metric(self) -> str:
        return self.metric_named("ndcg")


class RankNDCG(Ranking):
    """Logistic loss of pairs, each weighted by the change of the normalized discounted cumulative gain."""

    name = "rank:ndcg"

    @property
    def default_metric(self) -> str:
        return self.metric_named("ndcg")

    def check(self, rows: Rows) -> None:
        super().check(rows)
        if self.ndcg_exp_gain:
            check_grades(needed(rows.label, "label", self.name), self.name)

    def weighing(
        self, label: Float32s, starts: NDArray[np.int64]
    ) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        gain = gains(label, self.ndcg_exp_gain)
        return NDCG, gain, inverse_ideal(gain, starts, self.top)


class RankMAP(Ranking):
    """Logistic loss of pairs, each weighted by the change of the mean average precision, of labels 0 and 1."""

    name = "rank:map"

    @property
    def default_metric(self) -> str:
        return self.metric_named("map")

    def check(self, rows: Rows) -> None:
        super().check(rows)
        check_binary(needed(rows.label, "label", self.name), self.name)

    def weighing(
        self, label: Float32s, starts: NDArray[np.int64]
    ) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        return MAP, np.zeros(len(label)), np.ones(len(starts) - 1)


def check_grades(label: Float32s, name: str) -> None:
    """Raise if a label cannot be the exponent of a gain.

    Raises:
        LabelError: a label is not an integer from 0 to 31.
    """
    if not ((label >= 0) & (label < 32) & (np.abs(np.floor(label) - label) <= 1e-6)).all():
        raise LabelError(f"{name} needs labels 0, 1, … 31, and one is not; set ndcg_exp_gain to False for other gains")


def check_binary(label: Float32s, name: str) -> None:
    """Raise if a label is not 0 or 1.

    Raises:
        LabelError: one is not.
    """
    if not ((np.abs(label) < 1e-6) | (np.abs(label - 1) < 1e-6)).all():
        raise LabelError(f"{name} needs labels 0 and 1, and one is neither; use ndcg for grades")


def group_weights(rows: Rows) -> Float32s:
    """Return the weight of each group.

    Raises:
        LabelError: there are not as many weights as groups.
    """
    groups = len(rows.group_starts) - 1
    if rows.weight is None:
        return np.ones(groups, np.float32)
    if len(rows.weight) != groups:
        raise LabelError(f"{len(rows.weight)} weights are given for {groups} groups; a ranking has one for each group")
    return rows.weight


def gains(label: Float32s, is_exponential: bool) -> NDArray[np.float64]:
    """Return the gain of each row, 2^label − 1 or the label."""
    if not is_exponential:
        return label.astype(np.float64)
    return np.asarray(np.left_shift(1, label.astype(np.int64)) - 1, np.float64)


def discounts(starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the discount of each place of the longest group: 1 / log2(place + 2)."""
    return 1 / log2(np.arange(int(np.diff(starts).max(initial=0))) + 2.0)


def inverse_ideal(gain: NDArray[np.float64], starts: NDArray[np.int64], top: int | None) -> NDArray[np.float64]:
    """Return one over the discounted gain of each group in the best order, or 0 if there is no gain."""
    groups = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((-gain, groups))
    place = np.arange(len(gain)) - starts[groups]
    terms = np.where(place < (len(gain) if top is None else top), gain[order] * discounts(starts)[place], 0)
    ideal = np.bincount(groups, terms, len(starts) - 1)
    inverse = np.zeros(len(ideal))
    np.divide(1, ideal, out=inverse, where=ideal != 0)
    return inverse
