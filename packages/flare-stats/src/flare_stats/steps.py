"""How many values of a site are at most a threshold, so that no answer depends on a single value.

A site that may show groups of no fewer than ``grain`` values cuts its sorted values into groups of that many. The
number of values at most t is known at the cuts alone, each of which lies at the mean of ``grain`` values around it;
from cut to cut it grows linearly, as if the values of a group lay evenly. A value that occurs ``grain`` times or more
is a group by itself, at its own place. The answer is a function of t and errs by less than ``3 * grain`` values: any
number of thresholds, chosen with any knowledge of earlier answers, tell no more than the cuts. With a grain of 1,
answers are exact.

Of many values, a sketch keeps some, each of which stands for several. Then groups are of ``grain`` kept values, and the
error is as many times as large: that many values do not occur, which the one that is kept stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class RankSteps:
    """The number of values at most a threshold, as a function that grows linearly from point to point.

    Attributes:
        points: float64, ascending; a point that occurs twice is a place where the function leaps.
        ranks: int64, the number of values at most each point.
        is_exact: the function is a staircase, and tells the ranks of the values themselves.
    """

    points: NDArray[np.float64]
    ranks: NDArray[np.int64]
    is_exact: bool

    @property
    def total(self) -> int:
        """The number of values."""
        return int(self.ranks[-1]) if len(self.ranks) else 0

    @classmethod
    def of(
        cls,
        values: ArrayLike,
        weights: ArrayLike,
        grain: int = 1,
        *,
        ends: tuple[float, float] | None = None,
    ) -> RankSteps | None:
        """Return the function of some values, or None if there are too few to make groups.

        Args:
            values: [n], without NaN, in any order.
            weights: [n], how many values each stands for; 1 in exact data.
            grain: the least number of values in a group.
            ends: numbers below and above all values that may be shown, such as a minimum and a maximum with noise.
        """
        order = np.argsort(np.asarray(values, np.float64), kind="stable")
        kept = np.asarray(values, np.float64)[order] + 0.0  # -0.0 + 0.0 is 0.0
        below = np.concatenate([[0], np.cumsum(np.asarray(weights, np.int64)[order])])
        if grain <= 1:
            ends_of_runs = np.flatnonzero(np.append(kept[1:] != kept[:-1], True)) if len(kept) else np.zeros(0, int)
            return cls(kept[ends_of_runs], below[1:][ends_of_runs], True)
        if 0 < len(kept) < grain:
            return None
        cuts = [(place, int(below[index])) for place, index in _cuts(kept, grain)]
        made = _between(cuts, int(below[-1]), ends)
        if made is None:
            return None
        points = np.maximum.accumulate(np.array([each[0] for each in made], float)) if made else np.zeros(0)
        return cls(points, np.array([each[1] for each in made], np.int64), False)

    def at(self, thresholds: ArrayLike) -> NDArray[np.int64]:
        """Return the number of values at most each threshold, int64; thresholds may be infinite."""
        wanted = np.asarray(thresholds, np.float64)
        if not len(self.points):
            return np.zeros(wanted.shape, np.int64)
        after = np.searchsorted(self.points, wanted, side="right")
        before = np.maximum(after - 1, 0)
        low = np.where(after > 0, self.ranks[before], 0)
        if self.is_exact:
            return low
        follow = np.minimum(after, len(self.points) - 1)
        inside = (after > 0) & (after < len(self.points))
        left, right = self.points[before], self.points[follow]
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = (wanted / 2 - left / 2) / (right / 2 - left / 2)  # halves, whose difference does not overflow
            grown = low + np.floor((self.ranks[follow] - low) * np.clip(np.nan_to_num(share), 0, 1)).astype(np.int64)
        return np.where(inside, grown, low)


def _cuts(kept: NDArray[np.float64], grain: int) -> list[tuple[float, int]]:
    """Return where groups end, as pairs of a place and the number of kept values below it; a leap has two."""
    cuts: list[tuple[float, int]] = []
    last, begin, total, half = 0, 0, len(kept), (grain + 1) // 2
    for end in [*(np.flatnonzero(kept[1:] != kept[:-1]) + 1).tolist(), total]:
        if end - begin >= grain:  # a frequent value; smaller groups before and after it are counted with it
            before = begin if begin - last >= grain else last
            last = end if total - end >= grain else total
            cuts += [(float(kept[begin]), before), (float(kept[begin]), last)]
        elif end - last >= grain and total - end >= grain:
            around = kept[end - half : end + half]
            cuts.append((float(np.clip((around / len(around)).sum(), around[0], around[-1])), end))
            last = end
        begin = end
    return cuts


def _between(
    cuts: list[tuple[float, int]], total: int, ends: tuple[float, float] | None
) -> list[tuple[float, int]] | None:
    """Add the ends, where the number of values begins and stops to grow."""
    if total and not cuts and ends is None:
        return None
    if not cuts:
        return [(ends[0], 0), (ends[1], total)] if ends is not None and total else []
    (first, begun), (last, done) = cuts[0], cuts[-1]
    made = list(cuts)
    if begun > 0:
        made.insert(0, (_end(ends[0] if ends else None, first, made, -1), 0))
    if done < total:
        made.append((_end(ends[1] if ends else None, last, cuts, 1), total))
    return made


def _end(given: float | None, cut: float, cuts: list[tuple[float, int]], side: int) -> float:
    """Return the given end, or one as far from the outermost cut as that is from the next."""
    if given is not None:
        return min(given, cut) if side < 0 else max(given, cut)
    others = [each for each, _ in (cuts if side < 0 else reversed(cuts)) if each != cut]
    return cut + (cut - others[0]) if others else cut
