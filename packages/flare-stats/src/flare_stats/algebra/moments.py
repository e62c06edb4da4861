"""Count, sum, mean, variance and range, in one pass and without cancellation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np

from flare_stats.algebra.fields import field
from flare_stats.algebra.numbers import Numbers, Values, to_numbers

Number = int | float


@dataclass(slots=True)
class Moments:
    """Count, missing values, failures, sum, mean, sum of squared deviations and range of a column.

    The mean is kept as the sum of two floats, about 32 digits: the variance of values that are close together and far
    from zero, such as 1e9 plus noise, does not suffer from a mean that is rounded to one float.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equations 1.5b (merging) and
    1.7 (the corrected two-pass algorithm, here within each part that is added).

    Attributes:
        count: of finite numbers; the other attributes are of these alone.
        missing: how many values are null or NaN.
        failures: how many values are no finite numbers; see :func:`to_numbers`.
        mean_high: the mean, rounded to a float; 0 without values.
        mean_low: what the rounding left out.
        squares: the sum of squared deviations from the mean.
        min: the smallest value, an integer in full where the column holds integers; None without values.
        max: the largest value, likewise.
        total: the exact sum, as long as all values are integers; None otherwise.
    """

    count: int = 0
    missing: int = 0
    failures: int = 0
    mean_high: float = 0.0
    mean_low: float = 0.0
    squares: float = 0.0
    min: Number | None = None
    max: Number | None = None
    total: int | None = 0

    @property
    def sum(self) -> Number:
        """The sum: exact for integers, rounded once to a float otherwise."""
        if self.total is not None:
            return self.total
        if not np.isfinite(self.mean_high):
            return self.mean_high
        return _rounded((Fraction(self.mean_high) + Fraction(self.mean_low)) * self.count)

    @property
    def mean(self) -> float | None:
        """The mean; None without values."""
        return self.mean_high if self.count else None

    def variance(self, ddof: int = 1) -> float | None:
        """Divide the squared deviations by ``count - ddof``: the sample variance as in pandas; None with fewer values.

        ``ddof=0`` is the population variance, as in NumPy.
        """
        return self.squares / (self.count - ddof) if self.count > ddof else None

    def stddev(self, ddof: int = 1) -> float | None:
        """Return the square root of :meth:`variance`."""
        variance = self.variance(ddof)
        return None if variance is None else float(np.sqrt(variance))

    def add(self, column: Any) -> None:
        """Add a part of the column: an Arrow array, a NumPy array or :class:`Numbers`."""
        numbers = to_numbers(column)
        self.missing += numbers.missing
        self.failures += numbers.failures
        if len(numbers.values):
            self._join(_of(numbers))

    def merge(self, other: Moments) -> None:
        """Add what another one has seen."""
        self.missing += other.missing
        self.failures += other.failures
        if other.count:
            self._join(other)

    def _join(self, other: Moments) -> None:
        """Merge counts, means and squares with those of values that are there."""
        total = None if self.total is None or other.total is None else self.total + other.total
        if not self.count:
            for name in ("count", "mean_high", "mean_low", "squares", "min", "max"):
                setattr(self, name, getattr(other, name))
            self.total = total
            return
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            delta = (other.mean_high - self.mean_high) + (other.mean_low - self.mean_low)
            share = other.count / count
            self.squares = float(self.squares + other.squares + np.float64(delta) ** 2 * self.count * share)
            self.mean_high, self.mean_low = _two_sum(self.mean_high, self.mean_low + delta * share)
        self.count, self.total = count, total
        ends = [end for end in (self.min, self.max, other.min, other.max) if end is not None]
        self.min, self.max = min(ends), max(ends)

    def to_data(self) -> dict[str, Any]:
        """Return the state as plain numbers."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned.

        Raises:
            AlgebraError: names the entry that is missing or unusable.
        """
        moments = cls()
        for name in ("count", "missing", "failures"):
            setattr(moments, name, field(data, name, int, least=0))
        for name in ("mean_high", "mean_low", "squares"):
            setattr(moments, name, field(data, name, float))
        moments.total = None if data.get("total") is None else field(data, "total", int)
        if moments.count:
            moments.min, moments.max = field(data, "min", (int, float)), field(data, "max", (int, float))
        return moments


def _of(numbers: Numbers) -> Moments:
    """The moments of at least one value."""
    values = numbers.values
    return _of_integers(values) if values.dtype.kind in "iu" else _of_floats(values)


def _of_floats(values: Values) -> Moments:
    with np.errstate(over="ignore", invalid="ignore"):
        count = len(values)
        least, most = float(values.min()), float(values.max())
        center = values.sum() / count if least < most else values[0]  # so that equal values deviate by exactly 0
        if not np.isfinite(center):  # the sum overflows, the mean cannot
            center = (values / count).sum()
        squares, offset = _around(values - center)
        high, low = _two_sum(float(center), offset)
    return Moments(count, 0, 0, high, low, squares, least, most, None)


def _of_integers(values: Values) -> Moments:
    count, least, most = len(values), int(values.min()), int(values.max())
    total = _exact_sum(values, max(abs(least), abs(most)))
    center = total // count
    if most - least < 2**63:  # deviations fit: exact where float64 would round the values
        deviations = (values - values.dtype.type(center)).view(np.int64).astype(np.float64)
    else:
        deviations = values.astype(np.float64) - float(center)
    squares, _ = _around(deviations)
    high = total / count
    low = float(Fraction(total, count) - Fraction(high))
    return Moments(count, 0, 0, high, low, squares, least, most, total)


def _around(deviations: Values) -> tuple[float, float]:
    """The sum of squares of deviations around their mean, and that mean; overwrites them."""
    offset = deviations.mean()
    squares = float(np.square(deviations, out=deviations).sum())
    if np.isfinite(squares):
        squares = max(squares - len(deviations) * float(offset) ** 2, 0.0)
    return squares, float(offset)


def _exact_sum(values: Values, most: int) -> int:
    """The sum of integers of which none is further from zero than `most`."""
    if most * len(values) < 2**63:
        return int(values.sum())
    high, low = values >> values.dtype.type(32), values & values.dtype.type(2**32 - 1)
    return (int(high.sum()) << 32) + int(low.sum())


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """The sum of two floats as its rounded value and the exact remainder (Knuth, TAOCP volume 2, 4.2.2)."""
    high = a + b
    part = high - a
    return high, (a - (high - part)) + (b - part)


def _rounded(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
