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
        if len(columns) != len(self.count):
            raise AlgebraError(f"{len(columns)} columns were added to moments of {len(self.count)}")
        if len(columns) and len(columns[0]):
            self.merge(_of([to_floats(column) for column in columns]))

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


def _of(columns: list[Matrix]) -> CoMoments:
    """The moments of at least one row; NaN where a number is missing."""
    present = [~np.isnan(column) for column in columns]
    moments = CoMoments(len(columns))
    center = np.array([_center(column[there]) for column, there in zip(columns, present, strict=True)])
    apart = np.stack([column - middle for column, middle in zip(columns, center, strict=True)])
    if all(there.all() for there in present):
        count = np.full(moments.count.shape, float(len(columns[0])))
        raw, sums = _product(apart, apart), np.broadcast_to(apart.sum(1)[:, None], count.shape)
        squares, products = np.broadcast_to(np.diag(raw)[:, None], count.shape), raw
    else:
        there = np.stack(present).astype(np.float64)
        np.copyto(apart, 0.0, where=np.isnan(apart))
        count, sums = _product(there, there), _product(apart, there)
        squares, products = _product(np.square(apart), there), _product(apart, apart)
    moments.count = count.astype(np.int64)
    shift = np.divide(sums, count, out=np.zeros_like(count), where=count > 0)
    moments.squares = np.maximum(squares - shift * shift * count, 0.0)
    moments.products = products - shift * shift.T * count
    moments.mean_high, moments.mean_low = _two_sum(np.where(count > 0, center[:, None], 0.0), shift)
    # Rows that a pair shares may lie far from the mean of all: then the differences above have lost their digits.
    for i, j in np.argwhere(moments.squares < CANCELLED * squares):
        both = present[i] & present[j]
        _pair(moments, int(i), int(j), columns[i][both], columns[j][both])
    return moments


def _product(a: Matrix, b: Matrix) -> Matrix:
    """``a @ b.T`` of wide matrices, in parts for which a BLAS starts no threads that wait for each other."""
    part = max(256, 2**17 // len(a) ** 2)
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], part):
        total += a[:, start : start + part] @ b[:, start : start + part].T
    return total


def _pair(moments: CoMoments, i: int, j: int, first: Matrix, second: Matrix) -> None:
    """Compute the moments of a pair anew, around the means of the rows that have both."""
    (center_i, apart_i, shift_i), (center_j, apart_j, shift_j) = _apart(first), _apart(second)
    moments.mean_high[i, j], moments.mean_low[i, j] = _two_sum(center_i, shift_i)
    moments.mean_high[j, i], moments.mean_low[j, i] = _two_sum(center_j, shift_j)
    moments.squares[i, j] = np.square(apart_i).sum() - len(first) * shift_i**2
    moments.squares[j, i] = np.square(apart_j).sum() - len(first) * shift_j**2
    moments.products[i, j] = moments.products[j, i] = (apart_i * apart_j).sum() - len(first) * shift_i * shift_j


def _apart(values: Matrix) -> tuple[float, Matrix, float]:
    center = _center(values)
    apart = values - center
    return center, apart, float(apart.mean())


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
