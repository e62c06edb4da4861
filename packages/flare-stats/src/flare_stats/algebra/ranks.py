"""Ranks of any threshold, from a sketch of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from datasketches import kll_doubles_sketch

from flare_stats.algebra.numbers import to_numbers

Floats = npt.NDArray[np.float64]


class RankSketch:
    """How many values are at most a threshold, within :attr:`rank_error` of the count.

    Exact while there are hardly more values than `size`. The sketch holds values of the data, so it must not leave the
    site: only counts do. It draws random numbers: two passes over the same data differ within the error.

    Source: Karnin, Lang and Liberty 2016, arXiv:1603.05346, as implemented by Apache DataSketches.

    Args:
        size: the sketch's parameter k; it keeps about three times as many values.
    """

    def __init__(self, size: int = 4096) -> None:
        self._sketch = kll_doubles_sketch(size)

    @property
    def count(self) -> int:
        """How many values were added."""
        return int(self._sketch.n)

    @property
    def rank_error(self) -> float:
        """By how much of the count a rank may be off, with 99 % confidence; 0 while the sketch holds each value."""
        return float(self._sketch.normalized_rank_error(False)) if self._sketch.is_estimation_mode() else 0.0

    def add(self, column: Any) -> None:
        """Add a part of the column: an Arrow array, a NumPy array or :class:`Numbers`; integers become floats."""
        values = to_numbers(column).ascending  # sorted for histograms anyway, and faster for the sketch
        self._sketch.update(values.astype(np.float64))

    def merge(self, other: RankSketch) -> None:
        """Add what another one has seen."""
        self._sketch.merge(other._sketch)

    def ranks(self, thresholds: Sequence[float] | Floats) -> npt.NDArray[np.int64]:
        """Count the values that are at most each threshold; an int64 array of the thresholds' shape ``(n,)``."""
        values, weights = self.items()
        order = np.argsort(values)
        sums = np.concatenate([[0], np.cumsum(weights[order])])
        counts: npt.NDArray[np.int64] = sums[np.searchsorted(values[order], np.asarray(thresholds, float), "right")]
        return counts

    def items(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Return the values that the sketch keeps, and how many each stands for; they must not leave the site."""
        kept = list(self._sketch)
        return np.array([value for value, _ in kept], np.float64), np.array([weight for _, weight in kept], np.int64)
