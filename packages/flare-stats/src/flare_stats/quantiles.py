"""Quantiles of the values of several sites, found from counts: brackets that narrow until one number is left.

A quantile of n values is a value of a certain rank, or lies between two (linear interpolation, as NumPy's). A value of
rank r is the smallest number t for which more than r values are at most t. All float64 numbers are a range of 2**64
integers in the same order, so 11 questions with 63 thresholds each find it. The sites answer counts alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

PARTS = 64
_SIGN = np.uint64(1 << 63)
Keys = NDArray[np.uint64]


def key_of(values: ArrayLike) -> Keys:
    """Return the places of numbers among all float64 numbers, uint64; -0.0 has that of 0.0."""
    bits = (np.asarray(values, np.float64) + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def value_of(keys: Keys) -> NDArray[np.float64]:
    """Return the numbers at some places, float64."""
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).view(np.float64) + 0.0


class Brackets:
    """The search for the values of some ranks among the values of some sites.

    Args:
        total: the number of values.
        fractions: in [0, 1], of the wanted quantiles.
    """

    def __init__(self, total: int, fractions: Sequence[float]) -> None:
        self.fractions = list(fractions) if total else []
        places = np.array(self.fractions) * (total - 1)
        self._below = np.floor(places).astype(np.int64)
        self._shares = places - self._below
        self._ranks = np.unique(np.concatenate([self._below, np.minimum(self._below + 1, total - 1)[self._shares > 0]]))
        self._low, self._high = (np.full(len(self._ranks), key_of(end)) for end in (-math.inf, math.inf))
        self._asked: Keys = np.empty(0, np.uint64)

    @property
    def is_done(self) -> bool:
        """True if nothing is left to be asked."""
        return bool((self._low == self._high).all())

    def thresholds(self) -> NDArray[np.float64]:
        """Return the thresholds to count at, ascending."""
        is_open = self._low < self._high
        low, width = self._low[is_open, np.newaxis], (self._high - self._low)[is_open, np.newaxis]
        parts = np.arange(1, PARTS, dtype=np.uint64)
        self._asked = np.unique(low + width // PARTS * parts + width % PARTS * parts // PARTS)
        return value_of(self._asked)

    def narrow(self, counts: NDArray[np.int64]) -> None:
        """Note how many values are at most each of the thresholds, int64 of the same length."""
        after = np.searchsorted(np.maximum.accumulate(counts), self._ranks, side="right")  # the first that is enough
        ends = np.concatenate([self._asked, self._high.max(initial=0, keepdims=True)])
        self._high = np.minimum(self._high, ends[after])
        begins = np.concatenate([self._low.min(initial=_MOST, keepdims=True), self._asked + np.uint64(1)])
        self._low = np.minimum(np.maximum(self._low, begins[after]), self._high)

    def result(self) -> dict[float, float]:
        """Return the quantiles by their fractions; without those of ranks that the counts did not reach."""
        found = value_of(self._low)
        low, high = (
            found[np.searchsorted(self._ranks, np.minimum(self._below + step, self._ranks.max(initial=0)))]
            for step in (0, 1)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            apart, share = high - low, self._shares
            mixed = np.where(share < 0.5, low + apart * share, high - apart * (1 - share))
            mixed = np.where(np.isfinite(apart), mixed, low * (1 - share) + high * share)
        values = np.where((share == 0) | (low == high), low, mixed)
        return {at: value for at, value in zip(self.fractions, values.tolist(), strict=True) if math.isfinite(value)}


_MOST = np.uint64(2**64 - 1)


Key = tuple[str, str, str]
"""A place, a data set and a feature."""

Questions = dict[str, dict[str, dict[str, NDArray[np.float64]]]]
"""Thresholds by site, data set and feature; answers have as many counts."""


class Search:
    """The search for the quantiles of several features at several places at once, each over the values of some sites.

    Args:
        brackets: of each place, data set and feature.
        sites: of each likewise, whose values are counted.
    """

    def __init__(self, brackets: Mapping[Key, Brackets], sites: Mapping[Key, Sequence[str]]) -> None:
        self._brackets = dict(brackets)
        self._sites = sites
        self._asked: dict[Key, NDArray[np.float64]] = {}

    def questions(self) -> Questions:
        """Return the thresholds that each site has to count at; empty when the search is done."""
        self._asked = {key: each.thresholds() for key, each in self._brackets.items() if not each.is_done}
        parts: dict[str, dict[str, dict[str, list[NDArray[np.float64]]]]] = {}
        for key, thresholds in self._asked.items():
            _, dataset, feature = key
            for site in self._sites[key]:
                parts.setdefault(site, {}).setdefault(dataset, {}).setdefault(feature, []).append(thresholds)
        return {
            site: {
                dataset: {feature: np.concatenate(each) for feature, each in features.items()}
                for dataset, features in datasets.items()
            }
            for site, datasets in parts.items()
        }

    def narrow(self, answers: Mapping[str, Mapping[str, Mapping[str, NDArray[np.int64]]]]) -> None:
        """Take the counts of all the sites that were asked."""
        begins: dict[tuple[str, str, str], int] = {}
        for key, thresholds in self._asked.items():
            _, dataset, feature = key
            total = np.zeros(len(thresholds), np.int64)
            for site in self._sites[key]:
                begin = begins.get((site, dataset, feature), 0)
                begins[site, dataset, feature] = begin + len(thresholds)
                total += answers[site][dataset][feature][begin : begin + len(thresholds)]
            self._brackets[key].narrow(total)

    def result(self) -> dict[Key, dict[float, float]]:
        """Return the quantiles by their fractions."""
        return {key: each.result() for key, each in self._brackets.items()}
