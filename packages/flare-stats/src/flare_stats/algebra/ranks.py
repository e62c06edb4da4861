"""Ranks of any threshold, from a sketch of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from datasketches import kll_doubles_sketch

from flare_stats.algebra.numbers import to_numbers


class RankSketch:
    """How many values are at most a threshold, within :attr:`rank_error` of the count.

    Exact while there are hardly more values than `size`. The sketch holds values of the data, so it must not leave the
    site: only counts do. The sketch draws random numbers: two passes over the same data differ within the error.

    Source: Karnin, Lang and Liberty 2016, arXiv:1603.05346, as implemented by Apache DataSketches.

    Args:
        size: how many values the sketch keeps, about; its rank error is about ``2.3 / size``.
    """

    def __init__(self, size: int = 2048) -> None:
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
        self._sketch.update(
            np.array(to_numbers(column).values, np.float64)
        )  # a copy: the sketch wants a writable array

    def merge(self, other: RankSketch) -> None:
        """Add what another one has seen."""
        self._sketch.merge(other._sketch)

    def ranks(self, thresholds: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Count the values that are at most each threshold; an int64 array of the thresholds' shape ``(n,)``."""
        if not self.count:
            return np.zeros(len(thresholds), np.int64)
        shares = [self._sketch.get_rank(float(threshold), True) for threshold in thresholds]
        counts: npt.NDArray[np.int64] = np.rint(np.array(shares, np.float64) * self.count).astype(np.int64)
        return counts

    def to_bytes(self) -> bytes:
        """Serialize for a file of the site's own; holds values of the data."""
        return bytes(self._sketch.serialize())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore what :meth:`to_bytes` returned."""
        ranks = cls()
        ranks._sketch = kll_doubles_sketch.deserialize(data)
        return ranks
