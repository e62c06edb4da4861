"""Counts that may be shown: bins and categories of few values are hidden, and so is what would tell them.

A hidden count is shown as 0, like that of an empty bin: if empty bins could be told from those with one value, narrow
bins would show where the values of single records lie.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise


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

    def known(self) -> Iterator[tuple[_Place, _Place, int]]:
        """Yield pairs of places between which the number of values is known, and that number."""
        last = len(self.counts) - 1
        for bin_, count in enumerate(self.shown):
            if count:
                yield (self.edges[bin_], 0), (self.edges[bin_ + 1], int(bin_ == last)), self.counts[bin_]
        yield _LOW, _HIGH, self.total
        if sum(self.counts) == self.total:  # who asks may know that no value lies beyond the edges
            yield _LOW, (self.edges[0], 0), 0
            yield (self.edges[-1], 1), _HIGH, 0


_Place = tuple[float, int]
_LOW, _HIGH = (-math.inf, 0), (math.inf, 1)


def shown_beside(new: Binning, former: Sequence[Binning], least: int) -> list[int]:
    """Return the counts of a histogram that may be shown to somebody who has seen others of the same values.

    Bins of two histograms that overlap can be subtracted: where an edge is moved a little, their difference is the
    number of values in between. All edges between which shown bins make a path have a known number of values between
    them; bins are hidden until no such number is small.

    Args:
        new: the histogram, its small counts hidden already.
        former: those shown before, of the same values.
        least: the smallest number of values that may be told.
    """
    shown = list(new.shown)
    for _ in range(_ATTEMPTS):
        now = Binning(new.edges, new.counts, shown, new.total)
        bad = _narrow_places([*former, now], least)
        if not bad:
            return shown
        last = len(shown) - 1
        ends = [((new.edges[at], 0), (new.edges[at + 1], int(at == last))) for at in range(len(shown))]
        hit = [at for at, (low, high) in enumerate(ends) if shown[at] and (low in bad or high in bad)]
        for at in hit or range(len(shown)):
            shown[at] = 0
    return [0] * len(shown)


_ATTEMPTS = 20


def _narrow_places(binnings: Sequence[Binning], least: int) -> set[_Place]:
    """Return the places at both ends of each known number of values that is small but not zero."""
    apart = _Differences()
    for binning in binnings:
        for low, high, count in binning.known():
            apart.add(low, high, count)
    bad: set[_Place] = set()
    for places in apart.groups():
        ordered = sorted(places)
        for low, high in pairwise(ordered):
            if 0 < places[high] - places[low] < least:
                bad |= {low, high}
    return bad


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
