"""The best split of a node, found in its histogram by XGBoost's rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_xgb._jit import kernel
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.fixed_point import FixedPoint
from flare_xgb.engine.gain import Rules, improvement, weight_of

_Found = tuple[Any, ...]  # the loss change, where it is, and the sums of the rows that go left


@dataclass(frozen=True)
class NodeSums:
    """A node as the search knows it, besides its histogram.

    Args:
        gradient: sum of its rows' integer gradients.
        hessian: sum of its rows' integer Hessians.
        gain: float32, what the node gains without a split.
        lower: float32, smallest weight that monotone constraints allow.
        upper: float32, largest weight that they allow.
    """

    gradient: int
    hessian: int
    gain: np.float32
    lower: np.float32
    upper: np.float32


@dataclass(frozen=True)
class Candidate:
    """A possible split of a node.

    Args:
        loss_change: float32, how much it improves the objective; 0: there is no split.
        feature: index of the feature.
        bin: last bin that goes left; -1: none.
        default_left: missing values go left.
        left: integer sums of gradient and Hessian of the rows that go left.
        right: the same of those that go right.
        categories: the categories that go right; none if the feature is numeric.
    """

    loss_change: np.float32
    feature: int
    bin: int
    default_left: bool
    left: tuple[int, int]
    right: tuple[int, int]
    categories: tuple[int, ...] | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return a dict of numbers, booleans and lists."""
        return {
            "loss_change": float(self.loss_change),
            "feature": self.feature,
            "bin": self.bin,
            "default_left": self.default_left,
            "left": list(self.left),
            "right": list(self.right),
            "categories": None if self.categories is None else list(self.categories),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Candidate:
        """Return the candidate of such a dict."""
        categories = plain["categories"]
        return cls(
            np.float32(plain["loss_change"]),
            int(plain["feature"]),
            int(plain["bin"]),
            bool(plain["default_left"]),
            (int(plain["left"][0]), int(plain["left"][1])),
            (int(plain["right"][0]), int(plain["right"][1])),
            None if categories is None else tuple(int(one) for one in categories),
        )


def better(one: Candidate, other: Candidate) -> bool:
    """Return whether a candidate wins over another of the same node: the larger change, else the earlier feature."""
    if one.loss_change != other.loss_change:
        return bool(one.loss_change > other.loss_change)
    return one.feature < other.feature


def best_split(
    histogram: npt.NDArray[np.int64],
    cuts: Cuts,
    features: npt.NDArray[np.int64],
    sums: NodeSums,
    scale: FixedPoint,
    rules: Rules,
    monotone: npt.NDArray[np.int64],
) -> Candidate:
    """Find the best split of a node.

    Sums of bins are exact integers; each becomes the nearest float64 before XGBoost's formulas are applied to it.

    Args:
        histogram: int64 [bins, 2], the node's gradients and Hessians by bin.
        cuts: the bins.
        features: int64, the features that may be used, ascending.
        sums: the node's own sums, its gain and bounds.
        scale: what the integers stand for.
        rules: regularisation.
        monotone: int64 [features of the cuts], 1, -1 or 0.
    """
    right = np.zeros(cuts.most_categories, bool)
    change, feature, at, default_left, gradient, hessian = _search(
        histogram,
        cuts.pointers,
        cuts.categorical,
        features,
        np.array([sums.gradient, sums.hessian]),
        2.0**-scale.gradient_bits,
        2.0**-scale.hessian_bits,
        sums.gain,
        sums.lower,
        sums.upper,
        monotone,
        rules,
        right,
    )
    categories = None
    if change > 0 and cuts.categorical[feature]:
        categories = tuple(int(one) for one in np.flatnonzero(right))
    return Candidate(
        np.float32(change),
        int(feature),
        int(at),
        bool(default_left),
        (int(gradient), int(hessian)),
        (sums.gradient - int(gradient), sums.hessian - int(hessian)),
        categories,
    )


@kernel
def _change(
    left: tuple[int, int],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> np.float32:
    """Return the loss change if rows with these sums go left; 0 if a side weighs too little or it is infinite."""
    left_hessian = left[1] * hessian_unit
    right_hessian = (sums[1] - left[1]) * hessian_unit
    if left_hessian < rules.min_child_weight or right_hessian < rules.min_child_weight:
        return np.float32(0.0)
    change = improvement(
        left[0] * gradient_unit,
        left_hessian,
        (sums[0] - left[0]) * gradient_unit,
        right_hessian,
        gain,
        lower,
        upper,
        monotone,
        rules,
    )
    return change if np.isfinite(change) else np.float32(0.0)


@kernel
def _search(
    histogram: npt.NDArray[np.int64],
    pointers: npt.NDArray[np.int64],
    categorical: npt.NDArray[np.bool_],
    features: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: npt.NDArray[np.int64],
    rules: Rules,
    goes_right: npt.NDArray[np.bool_],
) -> _Found:
    best: _Found = (np.float32(0.0), np.int64(0), np.int64(-1), False, np.int64(0), np.int64(0))
    for feature in features:
        begin, end = pointers[feature], pointers[feature + 1]
        bins = histogram[begin:end]
        place = (sums, gradient_unit, hessian_unit, gain, lower, upper, monotone[feature], rules)
        if not categorical[feature]:
            found = _numeric(bins, *place)
            if found[0] > best[0]:
                best = (found[0], feature, found[1], found[2], found[3], found[4])
        elif end - begin < rules.max_cat_to_onehot:
            found = _one_category(bins, *place)
            if found[0] > best[0]:
                best = (found[0], feature, found[1], found[2], found[3], found[4])
                goes_right[:] = False
                goes_right[found[1]] = True
        else:
            order = _sorted_categories(bins, gradient_unit, hessian_unit, rules)
            found = _set_of_categories(bins, order, *place)
            if found[0] > best[0]:
                best = (found[0], feature, np.int64(-1), found[2], found[3], found[4])
                goes_right[:] = False
                for category in order[: found[1]]:
                    goes_right[category] = True
    return best


@kernel
def _numeric(
    bins: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> _Found:
    """Try each edge with missing values to the right, then, if there are any, with missing values to the left."""
    best: _Found = (np.float32(0.0), np.int64(-1), False, np.int64(0), np.int64(0))
    gradient = hessian = np.int64(0)
    for at in range(len(bins)):
        if bins[at, 0] == 0 and bins[at, 1] == 0:
            continue  # the same sums as one edge before
        gradient += bins[at, 0]
        hessian += bins[at, 1]
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at), False, gradient, hessian)
    if gradient == sums[0] and hessian == sums[1]:
        return best
    gradient, hessian = sums[0], sums[1]
    for at in range(len(bins) - 1, -1, -1):
        if bins[at, 0] == 0 and bins[at, 1] == 0:
            continue
        gradient -= bins[at, 0]
        hessian -= bins[at, 1]
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at - 1), True, gradient, hessian)
    return best


@kernel
def _one_category(
    bins: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> _Found:
    """Try each category alone to the right, without and with the missing values."""
    best: _Found = (np.float32(0.0), np.int64(-1), False, np.int64(0), np.int64(0))
    missing_gradient = sums[0] - bins[:, 0].sum()
    missing_hessian = sums[1] - bins[:, 1].sum()
    for at in range(len(bins)):
        gradient, hessian = sums[0] - bins[at, 0], sums[1] - bins[at, 1]
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at), True, gradient, hessian)
        gradient -= missing_gradient
        hessian -= missing_hessian
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at), False, gradient, hessian)
    return best


@kernel
def _sorted_categories(
    bins: npt.NDArray[np.int64], gradient_unit: float, hessian_unit: float, rules: Rules
) -> npt.NDArray[np.int64]:
    """Return the categories by the weight that each would have as a leaf without bounds; equal ones by number."""
    weights = np.empty(len(bins), np.float32)
    infinity = np.float32(np.inf)
    for at in range(len(bins)):
        weights[at] = weight_of(bins[at, 0] * gradient_unit, bins[at, 1] * hessian_unit, -infinity, infinity, rules)
    return np.argsort(weights, kind="mergesort")


@kernel
def _set_of_categories(
    bins: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> _Found:
    """Try the first k sorted categories to the right: small k with missing to the left, large k with it to the right.

    Both scans try at most ``max_cat_threshold`` - 1 sets. Returns k in place of a bin.
    """
    best: _Found = (np.float32(0.0), np.int64(-1), False, np.int64(0), np.int64(0))
    tried = min(len(bins), rules.max_cat_threshold) - 1
    gradient, hessian = sums[0], sums[1]
    for at in range(tried):
        gradient -= bins[order[at], 0]
        hessian -= bins[order[at], 1]
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at + 1), True, gradient, hessian)
    gradient = hessian = np.int64(0)
    for back in range(tried):
        at = len(bins) - 1 - back
        gradient += bins[order[at], 0]
        hessian += bins[order[at], 1]
        change = _change((gradient, hessian), sums, gradient_unit, hessian_unit, gain, lower, upper, monotone, rules)
        if change > best[0]:
            best = (change, np.int64(at), False, gradient, hessian)
    return best
