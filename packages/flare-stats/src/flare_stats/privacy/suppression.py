"""Counts that may be shown: bins and categories of few values are hidden, and so is what would tell them.

A hidden count is shown as 0, like that of an empty bin: if empty bins could be told from those with one value, narrow
bins would show where the values of single records lie.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def shown_counts(counts: Sequence[int], total: int, least: int) -> list[int]:
    """Return counts with the small ones as 0.

    Who knows the total subtracts what is shown. So as many more counts are hidden, the smallest first, as it takes for
    the hidden ones to be none, or ``least`` together.

    Args:
        counts: of bins or categories.
        total: of all values, including those in no bin.
        least: the smallest count that is shown.
    """
    shown = [count if count >= least else 0 for count in counts]
    hidden = total - sum(shown)
    for place in sorted((place for place, count in enumerate(shown) if count), key=lambda place: shown[place]):
        if hidden <= 0 or hidden >= least:
            break
        hidden += shown[place]
        shown[place] = 0
    return shown


def shown_categories(counts: Mapping[str, int], others: int, least: int) -> tuple[dict[str, int], int]:
    """Return the categories that may be named, and the number of values of all others."""
    total = sum(counts.values()) + others
    shown = shown_counts(list(counts.values()), total, least)
    named = {value: count for value, count in zip(counts, shown, strict=True) if count}
    return named, total - sum(named.values())


@dataclass(frozen=True, slots=True)
class Binning:
    """A histogram of one feature that was shown.

    Attributes:
        edges: of its bins; bins hold their lower edge, the last one also the upper one.
        counts: true counts.
        shown: the counts as they were shown.
        total: the number of all values, also of those in no bin.
    """

    edges: Sequence[float]
    counts: Sequence[int]
    shown: Sequence[int]
    total: int

    @property
    def digest(self) -> str:
        """A short text that is the same for the same edges only."""
        return hashlib.sha256(repr([float(edge) for edge in self.edges]).encode()).hexdigest()

    def known(self, *, closed: bool) -> Iterator[tuple[_Place, _Place, int]]:
        """Yield pairs of places between which the number of values is known, and that number.

        Args:
            closed: tell the end of the last bin, which holds its upper edge, from other edges at the same place.
        """
        last = len(self.counts) - 1
        for bin_, count in enumerate(self.shown):
            if count:
                yield (self.edges[bin_], 0), (self.edges[bin_ + 1], int(closed and bin_ == last)), self.counts[bin_]
        yield _LOW, _HIGH, self.total
        if sum(self.counts) == self.total:  # who asks may know that no value lies beyond the edges
            yield _LOW, (self.edges[0], 0), 0
            yield (self.edges[-1], int(closed)), _HIGH, 0


_Place = tuple[float, int]
_LOW, _HIGH = (-math.inf, 0), (math.inf, 0)


def shown_beside(new: Binning, former: Sequence[Binning], least: int) -> list[int]:
    """Return the counts of a histogram that may be shown to somebody who has seen others of the same values.

    Bins of two histograms that overlap can be subtracted: where an edge is moved a little, their difference is the
    number of values in between. Bins are hidden until no such number is small, of one interval or of two together.

    Edges between which shown bins make a path have a known number of values between them. The number of values in one
    interval follows from the histograms if and only if there is such a path between its ends; that in two intervals,
    if and only if there is one between the ends of each, or one between the outer ends and one between the inner ones.

    Args:
        new: the histogram, its small counts hidden already.
        former: those shown before, of the same values.
        least: the smallest number of values that may be told.
    """
    if not former:
        return list(new.shown)
    if len({edge for each in [*former, new] for edge in each.edges}) > MOST_EDGES:
        return [0] * len(new.shown)
    shown = list(new.shown)
    for _ in range(_ATTEMPTS):
        binnings = [*former, Binning(new.edges, new.counts, shown, new.total)]
        bad = _small_gaps(binnings, least, closed=True) | _small_gaps(binnings, least, closed=False)
        if not bad:
            return shown
        hit = [at for at, ends in enumerate(pairwise(new.edges)) if shown[at] and bad & {*ends}]
        for at in hit or range(len(shown)):
            shown[at] = 0
    return [0] * len(shown)


MOST_EDGES = 400
"""The most different edges of all histograms of a feature, since all pairs of them are looked at."""

_ATTEMPTS = 8


def _small_gaps(binnings: Sequence[Binning], least: int, *, closed: bool) -> set[float]:
    """Return the edges at the ends of intervals, or of pairs of them, that are known to hold few values, but some."""
    apart = _Differences()
    for binning in binnings:
        for low, high, count in binning.known(closed=closed):
            apart.add(low, high, count)
    paths = [_Path.of(group) for group in apart.groups()]
    bad: set[float] = set()
    for outer in paths:
        small = np.flatnonzero(_is_small(np.diff(outer.ranks), least))
        bad |= {outer.places[at + step][0] for at in small for step in (0, 1)}
        for inner in paths:
            if inner is not outer:
                bad |= outer.small_around(inner, least)
    return bad


@dataclass(frozen=True, slots=True)
class _Path:
    """Places between each two of which the number of values is known.

    Attributes:
        places: ascending.
        ranks: how many values lie below each, apart from a number that is the same for all.
    """

    places: list[_Place]
    ranks: NDArray[np.int64]

    @classmethod
    def of(cls, group: Mapping[_Place, int]) -> _Path:
        places = sorted(group)
        return cls(places, np.array([group[place] for place in places], np.int64))

    def small_around(self, inner: _Path, least: int) -> set[float]:
        """Return the edges where few values lie between two places of this path and two of another inside."""
        if len(self.places) < 2 or len(inner.places) < 2:
            return set()
        before = np.array([bisect_left(self.places, place) - 1 for place in inner.places])
        after = np.array([bisect_right(self.places, place) for place in inner.places])
        left = self.ranks[np.maximum(before, 0)] - inner.ranks
        right = self.ranks[np.minimum(after, len(self.places) - 1)] - inner.ranks
        exists = np.triu((before[:, None] >= 0) & (after[None, :] < len(self.places)), 1)
        bad: set[float] = set()
        for low, high in np.argwhere(exists & _is_small(right[None, :] - left[:, None], least)):
            ends = (self.places[before[low]], inner.places[low], inner.places[high], self.places[after[high]])
            bad |= {edge for edge, _ in ends}
        return bad


def _is_small(counts: NDArray[np.int64], least: int) -> NDArray[np.bool_]:
    return (counts > 0) & (counts < least)


class _Differences:
    """Places in groups, in which the distance between each two is known: a union-find with weights."""

    def __init__(self) -> None:
        self._parents: dict[_Place, tuple[_Place, int]] = {}

    def add(self, low: _Place, high: _Place, distance: int) -> None:
        """Note how many values lie between two places."""
        (root, below), (other, above) = self._find(low), self._find(high)
        if root != other:
            self._parents[other] = (root, below + distance - above)

    def groups(self) -> list[dict[_Place, int]]:
        """Return the places of each group, with their distance from one of them."""
        found: dict[_Place, dict[_Place, int]] = {}
        for place in list(self._parents):
            root, distance = self._find(place)
            found.setdefault(root, {})[place] = distance
        return list(found.values())

    def _find(self, place: _Place) -> tuple[_Place, int]:
        path, distance = [], 0
        parent, step = self._parents.setdefault(place, (place, 0))
        while parent != place:
            path.append((place, distance))
            distance += step
            place = parent
            parent, step = self._parents[place]
        for each, begun in path:
            self._parents[each] = (place, distance - begun)
        return place, distance
