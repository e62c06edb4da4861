"""Covariance and correlation of several columns, in one pass and without cancellation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from flare_stats.algebra.fields import AlgebraError, array_field
from flare_stats.algebra.numbers import to_floats

Matrix = npt.NDArray[Any]
PARTS = ("mean_high", "mean_low", "squares", "products")
CANCELLED = 1e-3


class CoMoments:
    """Moments of each pair of columns, over the rows in which both have a number, as pandas computes them.

    Entry ``[i, j]`` of each matrix is over the rows that have both column `i` and column `j`.

    Source: Chan, Golub and LeVeque 1983, for products of two columns; see :class:`Moments`.

    Args:
        width: how many columns there are.

    Attributes:
        count: how many rows have both, shape ``(width, width)``, int64.
        mean_high: of column `i`, rounded to a float, shape ``(width, width)``.
        mean_low: what the rounding left out.
        squares: sum of squared deviations of column `i` from its mean.
        products: sum of products of both columns' deviations.
    """

    def __init__(self, width: int) -> None:
        self.count: Matrix = np.zeros((width, width), np.int64)
        self.mean_high, self.mean_low, self.squares, self.products = np.zeros((4, width, width))

    def add(self, columns: Sequence[Any]) -> None:
        """Add rows: an Arrow or NumPy array for each column, all of one length. Integers become floats.

        Raises:
            AlgebraError: there are more or fewer columns than were announced.
        """
        rows = np.column_stack([to_floats(column) for column in columns]) if len(columns) else np.empty((0, 0))
        if rows.shape[1] != len(self.count):
            raise AlgebraError(f"{rows.shape[1]} columns were added to moments of {len(self.count)}")
        if len(rows):
            self.merge(_of(rows))

    def merge(self, other: CoMoments) -> None:
        """Add what another one has seen.

        Raises:
            AlgebraError: it has another number of columns.
        """
        if other.count.shape != self.count.shape:
            raise AlgebraError(f"moments of {len(other.count)} columns do not merge with those of {len(self.count)}")
        count = self.count + other.count
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = np.where(count > 0, other.count / count, 0.0)
            delta = (other.mean_high - self.mean_high) + (other.mean_low - self.mean_low)
            weight = self.count * share
            self.squares += other.squares + delta * delta * weight
            self.products += other.products + delta * delta.T * weight
            high, low = _two_sum(self.mean_high, self.mean_low + delta * share)
        first = self.count == 0
        self.mean_high = np.where(first, other.mean_high, high)
        self.mean_low = np.where(first, other.mean_low, low)
        self.count = count

    def covariance(self, ddof: int = 1) -> npt.NDArray[np.float64]:
        """Return the covariances, shape ``(width, width)``; NaN where no more than `ddof` rows have both columns."""
        freedom = np.where(self.count > ddof, self.count - ddof, np.nan)
        covariance: npt.NDArray[np.float64] = self.products / freedom
        return covariance

    def correlation(self) -> npt.NDArray[np.float64]:
        """Return Pearson's correlations, shape ``(width, width)``; NaN where a column does not vary."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.sqrt(self.squares) * np.sqrt(self.squares.T)
            return np.clip(np.where(scale > 0, self.products / scale, np.nan), -1, 1)

    def to_data(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {"count": self.count, **{name: getattr(self, name) for name in PARTS}}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned.

        Raises:
            AlgebraError: names the entry that is missing or unusable.
        """
        count = array_field(data, "count", int, (None, None))
        moments = cls(len(count))
        moments.count = array_field(data, "count", int, moments.count.shape)
        for name in PARTS:
            setattr(moments, name, array_field(data, name, float, moments.count.shape))
        return moments


def _of(rows: Matrix) -> CoMoments:
    """The moments of at least one row; NaN where a number is missing."""
    present = ~np.isnan(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        center = np.array([_center(rows[there, at]) for at, there in enumerate(present.T)])
        apart = np.where(present, rows - center, 0.0)
        there = present.astype(np.float64)
        moments = CoMoments(rows.shape[1])
        count = there.T @ there
        moments.count = count.astype(np.int64)
        shift = np.divide(apart.T @ there, count, out=np.zeros_like(count), where=count > 0)
        raw = np.square(apart).T @ there
        moments.squares = np.maximum(raw - shift * shift * count, 0.0)
        moments.products = apart.T @ apart - shift * shift.T * count
        moments.mean_high, moments.mean_low = _two_sum(np.where(count > 0, center[:, None], 0.0), shift)
    # Rows that a pair shares may lie far from the mean of all: then the differences above have lost their digits.
    for i, j in np.argwhere(moments.squares < CANCELLED * raw):
        _pair(moments, rows[present[:, i] & present[:, j]], int(i), int(j))
    return moments


def _pair(moments: CoMoments, rows: Matrix, i: int, j: int) -> None:
    """Compute the moments of a pair anew, around the means of the rows that have both."""
    centers = [_center(rows[:, at]) for at in (i, j)]
    apart = [rows[:, at] - center for at, center in zip((i, j), centers, strict=True)]
    shifts = [float(each.mean()) for each in apart]
    for at, other, place in ((i, j, 0), (j, i, 1)):
        moments.mean_high[at, other], moments.mean_low[at, other] = _two_sum(centers[place], shifts[place])
        squares = np.square(apart[place]).sum() - len(rows) * shifts[place] ** 2
        moments.squares[at, other] = max(float(squares), 0.0)
        moments.products[at, other] = (apart[0] * apart[1]).sum() - len(rows) * shifts[0] * shifts[1]


def _center(values: Matrix) -> float:
    """The mean, or the value itself where all are equal, so that their deviations are exactly zero."""
    if not len(values):
        return 0.0
    return float(values[0]) if values.min() == values.max() else float(values.sum() / len(values))


def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """The sum of two floats or arrays as its rounded value and the exact remainder; see moments.py."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)
