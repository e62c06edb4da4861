"""Quantiles of the values of several sites, found from counts: brackets that narrow until one number is left.

A quantile of n values is a value of a certain rank, or lies between two (linear interpolation, as NumPy's). A value of
rank r is the smallest number t for which more than r values are at most t. All float64 numbers are a range of 2**64
integers in the same order, so 11 questions with 63 thresholds each find it. The sites answer counts alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

PARTS = 64
_SIGN = 1 << 63
_MASK = (1 << 64) - 1


def key_of(value: float) -> int:
    """Return the place of a number among all float64 numbers; -0.0 has that of 0.0."""
    bits = int(np.float64(value + 0.0).view(np.uint64))
    return bits ^ _MASK if bits & _SIGN else bits | _SIGN


def value_of(key: int) -> float:
    """Return the number at a place."""
    bits = key ^ _SIGN if key & _SIGN else key ^ _MASK
    return float(np.uint64(bits).view(np.float64))


_LEAST, _MOST = key_of(-math.inf), key_of(math.inf)


class Brackets:
    """The search for the values of some ranks among the values of some sites.

    Args:
        total: the number of values.
        fractions: in [0, 1], of the wanted quantiles.
    """

    def __init__(self, total: int, fractions: Sequence[float]) -> None:
        self.total = total
        self.fractions = list(fractions)
        places = [each * (total - 1) for each in fractions] if total else []
        self._places = [(math.floor(each), each - math.floor(each)) for each in places]
        ranks = {rank for rank, share in self._places} | {rank + 1 for rank, share in self._places if share}
        self._brackets = {rank: (_LEAST, _MOST) for rank in sorted(ranks)}

    @property
    def is_done(self) -> bool:
        """True if nothing is left to be asked."""
        return all(low == high for low, high in self._brackets.values())

    def thresholds(self) -> NDArray[np.float64]:
        """Return the thresholds to count at, ascending."""
        keys = {key for low, high in self._brackets.values() if low < high for key in _inner(low, high)}
        return np.array([value_of(key) for key in sorted(keys)], np.float64)

    def narrow(self, counts: NDArray[np.int64]) -> None:
        """Note how many values are at most each of the thresholds, int64 of the same length."""
        keys = sorted({key for low, high in self._brackets.values() if low < high for key in _inner(low, high)})
        below = dict(zip(keys, counts.tolist(), strict=True))
        for rank, (low, high) in self._brackets.items():
            if low == high:
                continue
            for key in _inner(low, high):
                if below[key] > rank:
                    high = key
                    break
                low = key + 1
            self._brackets[rank] = (low, high)

    def result(self) -> dict[float, float]:
        """Return the quantiles by their fractions; none if there are no values."""
        found = {rank: value_of(low) for rank, (low, _) in self._brackets.items()}
        pairs = zip(self.fractions, self._places, strict=False)
        return {fraction: _mixed(found, rank, share) for fraction, (rank, share) in pairs}


def _mixed(found: Mapping[int, float], rank: int, share: float) -> float:
    low = found[rank]
    if not share or low == found[rank + 1]:
        return low
    high = found[rank + 1]
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def _inner(low: int, high: int) -> list[int]:
    """Return up to 63 keys that divide a bracket; the last one is below its upper end, which need not be asked for."""
    if high - low < PARTS:
        return list(range(low, high))
    return [low + (high - low) * part // PARTS for part in range(1, PARTS)]


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
