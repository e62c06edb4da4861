"""Exact order statistics of numbers that lie at many sites, found from counts alone.

The 32 bits of the keys (:mod:`flare_xgb.horizontal.keys`) are found from the first to the last, some with each question
to the sites: "of your numbers whose keys begin with these prefixes, how many go on with each of the next bits?" Only
the sums of the sites' counts are needed, so the result does not depend on which site has which number, has no error,
and can be found under masks.

Source: the multi-pass selection of Munro and Paterson 1980, "Selection and sorting with limited storage".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from flare_xgb.horizontal.keys import KEY_BITS, values_of

Counts: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Distinct:
    """Some of the distinct numbers of a group, in ascending order.

    Attributes:
        values: float32.
        below: the weight of all numbers of the group that are smaller.
        weights: the weight of the numbers that equal each.
        is_all: these are all distinct numbers of the group.
    """

    values: NDArray[np.float32]
    below: Counts
    weights: Counts
    is_all: bool

    def at(self, ranks: Counts) -> NDArray[np.float32]:
        """Return the numbers at ranks that were asked for: ``below <= rank < below + weight``."""
        return self.values[np.searchsorted(self.below, ranks, side="right") - 1]


class Refinement:
    """Finds, in several groups of numbers, those at given ranks, and all distinct ones where these are few.

    Ask the sites for the counts of what :meth:`wanted` returns, give their sum to :meth:`refine`, and repeat until
    :attr:`is_done`.

    Args:
        ranks: for each group, ranks counted from 0 as weight; None for those of the smallest and the largest number,
            whose weights are found with them. A rank beyond the group's weight is not found. Or a function of the
            weights of the groups, int64 [groups], that returns this.
        groups: how many there are, if ``ranks`` is a function.
        most_distinct: find all distinct numbers of a group if there are no more; 0 finds those at the ranks alone.
        steps: how many bits to find with each question; 32 in total.
    """

    def __init__(
        self,
        ranks: Sequence[Counts | None] | Callable[[Counts], Sequence[Counts | None]],
        groups: int | None = None,
        *,
        most_distinct: int = 0,
        steps: Sequence[int] = (12, 5, 5, 5, 5),
    ) -> None:
        self._find_ranks = ranks if callable(ranks) else None
        self._ranks: Sequence[Counts | None] = [] if callable(ranks) else ranks
        self._groups = len(self._ranks) if groups is None else groups
        self._steps = steps
        self._step = 0
        self._depth = 0
        self._most = most_distinct
        self._is_all = np.full(self._groups, most_distinct > 0)
        self._group = np.arange(self._groups)  # of each prefix
        self._prefix = np.zeros(self._groups, np.int64)
        self._below = np.zeros(self._groups, np.int64)
        self._weight: Counts = np.zeros(self._groups, np.int64)

    @property
    def is_done(self) -> bool:
        """True when all bits are known."""
        return self._depth == KEY_BITS or not len(self._group)

    def wanted(self) -> dict[str, Any]:
        """Return the next question, as :func:`~flare_xgb.horizontal.keys.count_keys` takes it."""
        return {
            "prefixes": self._prefix.astype(np.uint32),
            "pointers": np.searchsorted(self._group, np.arange(self._groups + 1)),
            "depth": self._depth,
            "bits": self._steps[self._step],
        }

    def refine(self, counts: Counts) -> None:
        """Take the sum of all sites' counts, [prefixes, 2**bits]."""
        if self._find_ranks is not None and self._depth == 0:
            self._ranks = self._find_ranks(counts.sum(axis=1))
        bits = self._steps[self._step]
        below = self._below[:, np.newaxis] + np.cumsum(counts, axis=1) - counts
        parent, child = np.nonzero(counts)
        self._group, self._weight = self._group[parent], counts[parent, child]
        self._prefix, self._below = (self._prefix[parent] << bits) | child, below[parent, child]
        self._step, self._depth = self._step + 1, self._depth + bits
        self._is_all &= np.bincount(self._group, minlength=self._groups) <= self._most
        kept = self._is_all[self._group]
        pointers = np.searchsorted(self._group, np.arange(self._groups + 1))
        for group, (low, high) in enumerate(pairwise(pointers)):
            if low < high and not self._is_all[group]:
                kept[low + self._places(self._ranks[group], low, high)] = True
        for name in ("_group", "_weight", "_prefix", "_below"):
            setattr(self, name, getattr(self, name)[kept])

    def _places(self, ranks: Counts | None, low: int, high: int) -> Counts:
        """Return which of a group's prefixes, from ``low`` to ``high``, contain its ranks."""
        if ranks is None:
            return np.array([0, high - low - 1])
        places = np.searchsorted(self._below[low:high], ranks, side="right") - 1
        inside = (places >= 0) & (ranks < self._below[low:high][places] + self._weight[low:high][places])
        return places[inside]

    def result(self) -> list[Distinct]:
        """Return what was found, by group; nothing for a group without numbers."""
        pointers = np.searchsorted(self._group, np.arange(self._groups + 1))
        values = values_of(self._prefix.astype(np.uint32))
        return [
            Distinct(values[low:high], self._below[low:high], self._weight[low:high], bool(self._is_all[group]))
            for group, (low, high) in enumerate(pairwise(pointers))
        ]
