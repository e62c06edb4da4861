"""Counts of values between given edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from flare_stats.algebra.fields import AlgebraError, array_field, field
from flare_stats.algebra.numbers import to_numbers


class HistogramCounts:
    """Counts of values in bins; as ``numpy.histogram``, each bin holds its lower edge, and the last one both.

    Attributes:
        edges: ascending, of shape ``(bins + 1,)``, float64.
        counts: of shape ``(bins,)``, int64.
        below: how many values lie below the first edge.
        above: how many values lie above the last edge.

    Raises:
        AlgebraError: fewer than two edges, or edges that are not finite or do not ascend.
    """

    def __init__(self, edges: Sequence[float] | npt.NDArray[np.float64]) -> None:
        self.edges = np.array(edges, dtype=np.float64)
        if self.edges.ndim != 1 or len(self.edges) < 2:
            raise AlgebraError(f"a histogram needs at least two edges, got {edges!r:.80}")
        if not np.isfinite(self.edges).all() or not (np.diff(self.edges) > 0).all():
            raise AlgebraError(f"the edges of a histogram must be finite and ascend, got {edges!r:.80}")
        self.counts = np.zeros(len(self.edges) - 1, np.int64)
        self.below = 0
        self.above = 0

    def add(self, column: Any) -> None:
        """Add a part of the column: an Arrow array, a NumPy array or :class:`Numbers`."""
        values = to_numbers(column).ascending
        below = np.searchsorted(values, self.edges, "left")
        below[-1] = np.searchsorted(values, self.edges[-1], "right")
        self.counts += np.diff(below)
        self.below += int(below[0])
        self.above += len(values) - int(below[-1])

    def merge(self, other: HistogramCounts) -> None:
        """Add the counts of another one with the same edges.

        Raises:
            AlgebraError: its edges are others.
        """
        if not np.array_equal(self.edges, other.edges):
            raise AlgebraError(f"histograms with other edges: {self.edges} and {other.edges}")
        self.counts += other.counts
        self.below += other.below
        self.above += other.above

    def to_data(self) -> dict[str, Any]:
        """Return edges and counts as plain data."""
        return {"edges": self.edges, "counts": self.counts, "below": self.below, "above": self.above}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned.

        Raises:
            AlgebraError: names the entry that is missing or unusable.
        """
        histogram = cls(array_field(data, "edges", float, (None,)))
        histogram.counts = array_field(data, "counts", int, (len(histogram.edges) - 1,))
        histogram.below = field(data, "below", int, least=0)
        histogram.above = field(data, "above", int, least=0)
        return histogram
