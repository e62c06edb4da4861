"""The best split of a node, found in its histogram by XGBoost's rules."""

from __future__ import annotations

from collections.abc import Mapping
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


def plain_of_candidates(candidates: Mapping[int, Candidate]) -> dict[str, Any]:
    """Return candidates, by the numbers of their nodes, as a dict of arrays and lists."""
    found = list(candidates.values())
    return {
        "nodes": np.array(list(candidates), np.int64),
        "loss_changes": np.array([one.loss_change for one in found], np.float32),
        "places": np.array([(one.feature, one.bin, one.default_left) for one in found], np.int64).reshape(-1, 3),
        "sums": np.array([(*one.left, *one.right) for one in found], np.int64).reshape(-1, 4),
        "categories": [None if one.categories is None else list(one.categories) for one in found],
    }


def candidates_of_plain(plain: Mapping[str, Any]) -> dict[int, Candidate]:
    """Return the candidates of such a dict."""
    arrays = [np.asarray(plain[name]) for name in ("nodes", "loss_changes", "places", "sums")]
    return {
        int(node): Candidate(
            np.float32(change),
            int(places[0]),
            int(places[1]),
            bool(places[2]),
            (int(sums[0]), int(sums[1])),
            (int(sums[2]), int(sums[3])),
            None if categories is None else tuple(int(one) for one in categories),
        )
        for node, change, places, sums, categories in zip(*arrays, plain["categories"], strict=True)
    }


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
        int(at) if categories is None else -1,
        bool(default_left),
        (int(gradient), int(hessian)),
        (sums.gradient - int(gradient), sums.hessian - int(hessian)),
        categories,
    )


# A scan of a feature writes down the sums of the rows that would go left, for each possible split in XGBoost's order.
# Then one loop judges all of them, and the first of the best ones wins.


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
    most = 0
    for feature in features:
        most = max(most, pointers[feature + 1] - pointers[feature])
    lefts, places = np.empty((2 * most, 2), np.int64), np.empty(2 * most, np.int64)
    for feature in features:
        bins = histogram[pointers[feature] : pointers[feature + 1]]
        one_category = categorical[feature] and len(bins) < rules.max_cat_to_onehot
        order = np.empty(0, np.int64)
        if not categorical[feature]:
            middle, tried = _edges(bins, sums, lefts, places)
        elif one_category:
            middle, tried = _single_categories(bins, sums, lefts, places)
        else:
            order = _sorted_categories(bins, gradient_unit, hessian_unit, rules)
            middle, tried = _first_categories(bins, order, sums, rules.max_cat_threshold, lefts, places)
        change, at = _best_of(
            lefts[:tried], sums, gradient_unit, hessian_unit, gain, lower, upper, monotone[feature], rules
        )
        if change > best[0]:
            # Among single categories, missing values go left in every other set of rows.
            default_left = at % 2 == 0 if one_category else (at < middle) == categorical[feature]
            best = (change, feature, places[at], default_left, lefts[at, 0], lefts[at, 1])
            if categorical[feature]:
                goes_right[:] = False
                if one_category:
                    goes_right[places[at]] = True
                else:
                    goes_right[order[: places[at]]] = True
    return best


@kernel
def _best_of(
    lefts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    gradient_unit: float,
    hessian_unit: float,
    gain: np.float32,
    lower: np.float32,
    upper: np.float32,
    monotone: int,
    rules: Rules,
) -> tuple[np.float32, int]:
    """Return the largest finite loss change above 0 and the first place of it, or 0 and -1."""
    best, place = np.float32(0.0), -1
    least = np.float64(rules.min_child_weight)
    for at in range(len(lefts)):
        left_hessian = lefts[at, 1] * hessian_unit
        right_hessian = (sums[1] - lefts[at, 1]) * hessian_unit
        if left_hessian < least or right_hessian < least:
            continue
        change = improvement(
            lefts[at, 0] * gradient_unit,
            left_hessian,
            (sums[0] - lefts[at, 0]) * gradient_unit,
            right_hessian,
            gain,
            lower,
            upper,
            monotone,
            rules,
        )
        if change > best and np.isfinite(change):
            best, place = change, at
    return best, place


@kernel
def _edges(
    bins: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    lefts: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Write down each edge with missing values to the right, then, if there are any, with missing values to the left.

    Beside an empty bin the sums are those at the edge before. Returns where the second half begins, and where it ends.
    """
    gradient = hessian = tried = 0
    for at in range(len(bins)):
        if bins[at, 0] != 0 or bins[at, 1] != 0:
            gradient += bins[at, 0]
            hessian += bins[at, 1]
            lefts[tried, 0], lefts[tried, 1], places[tried] = gradient, hessian, at
            tried += 1
    middle = tried
    if gradient != sums[0] or hessian != sums[1]:
        gradient, hessian = sums[0], sums[1]
        for at in range(len(bins) - 1, -1, -1):
            if bins[at, 0] != 0 or bins[at, 1] != 0:
                gradient -= bins[at, 0]
                hessian -= bins[at, 1]
                lefts[tried, 0], lefts[tried, 1], places[tried] = gradient, hessian, at - 1
                tried += 1
    return middle, tried


@kernel
def _single_categories(
    bins: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    lefts: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Write down each category alone to the right, without and with the missing values."""
    missing_gradient = sums[0] - bins[:, 0].sum()
    missing_hessian = sums[1] - bins[:, 1].sum()
    for at in range(len(bins)):
        gradient, hessian = sums[0] - bins[at, 0], sums[1] - bins[at, 1]
        lefts[2 * at, 0], lefts[2 * at, 1], places[2 * at] = gradient, hessian, at
        lefts[2 * at + 1, 0], lefts[2 * at + 1, 1] = gradient - missing_gradient, hessian - missing_hessian
        places[2 * at + 1] = at
    return 0, 2 * len(bins)


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
def _first_categories(
    bins: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    threshold: int,
    lefts: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
) -> tuple[int, int]:
    """Write down the first k sorted categories to the right, small k with missing values to the left, then large k.

    Both halves have at most ``threshold`` - 1 sets. The place is k.
    """
    tried = min(len(bins), threshold) - 1
    gradient, hessian = sums[0], sums[1]
    for at in range(tried):
        gradient -= bins[order[at], 0]
        hessian -= bins[order[at], 1]
        lefts[at, 0], lefts[at, 1], places[at] = gradient, hessian, at + 1
    gradient = hessian = 0
    for at in range(tried):
        last = len(bins) - 1 - at
        gradient += bins[order[last], 0]
        hessian += bins[order[last], 1]
        lefts[tried + at, 0], lefts[tried + at, 1], places[tried + at] = gradient, hessian, last
    return tried, 2 * tried
