"""Updates as fixed-point numbers, whose sums are the same in any order and by way of any tree.

A value is counted in steps of a power of two, ``2**-bits``. The bound of the values decides the step: with
``bound <= 2**e`` a step is ``2**(e - 32)``, so a value is at most ``2**32`` steps after rounding. An update's weight is
at most ``2**10``, so it adds at most ``2**42`` to a total, and ``2**20`` updates at most ``2**62``: no partial sum of
them overflows int64, whatever its order. Rounding moves a value by half a step, ``2**(e - 33)``, at most; a float32 of
at least ``2**(e - 9)`` is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from flare_edge.errors import EdgeError

Array = np.ndarray[Any, np.dtype[Any]]
Int64Array = np.ndarray[Any, np.dtype[np.int64]]

MAX_WEIGHT = 1 << 10
"""The largest weight of an update."""

MAX_UPDATES = 1 << 20
"""The largest number of updates in a total."""

_VALUE_BITS = 32
_METRIC_BITS = 24


@dataclass(frozen=True, slots=True)
class Scale:
    """The step of fixed-point numbers.

    Args:
        bits: a step is ``2**-bits``.
        bound: the largest absolute value that is encoded.
    """

    bits: int
    bound: float

    @classmethod
    def for_norm(cls, max_update_norm: float) -> Self:
        """Return the scale for values up to a bound.

        Args:
            max_update_norm: the largest absolute value of an update, from 1e-9 to 1e9.
        Raises:
            EdgeError: the bound is outside that range.
        """
        if not 1e-9 <= max_update_norm <= 1e9:
            raise EdgeError(f"max_update_norm is {max_update_norm!r}; give a number from 1e-9 to 1e9")
        mantissa, exponent = math.frexp(
            max_update_norm
        )  # max_update_norm == mantissa * 2**exponent, 0.5 <= mantissa < 1
        return cls(_VALUE_BITS - exponent + (mantissa == 0.5), float(max_update_norm))

    def encode(self, update: Mapping[str, Array], weight: int) -> dict[str, Int64Array]:
        """Return ``weight`` times an update, as numbers of steps.

        Args:
            update: arrays of numbers by name, such as float32 differences.
            weight: from 1 to 1024, such as the number of examples.
        Raises:
            EdgeError: the weight is out of range, or a value is not finite or beyond the bound; names the parameter.
        """
        if isinstance(weight, bool) or not isinstance(weight, int | np.integer) or not 1 <= weight <= MAX_WEIGHT:
            raise EdgeError(f"the weight of an update is {weight!r}; give an integer from 1 to {MAX_WEIGHT}")
        encoded = {}
        for name, value in update.items():
            exact = np.asarray(value).astype(np.float64)
            if exact.size and not float(np.abs(exact).max()) <= self.bound:  # not true of NaN, either
                self._refuse(name, exact)
            steps = np.rint(np.ldexp(exact, self.bits)).astype(np.int64)
            encoded[name] = np.asarray(steps * np.int64(weight))
        return encoded

    def decode(self, total: Mapping[str, Int64Array], divisor: float) -> dict[str, Array]:
        """Return a total divided by a number, as float64; the total is rounded to 53 bits at first.

        Args:
            total: sums of encoded updates by name.
            divisor: such as the sum of the weights; not 0.
        """
        return {
            name: np.asarray(np.ldexp(value.astype(np.float64), -self.bits) / divisor) for name, value in total.items()
        }

    def _refuse(self, name: str, value: Array) -> None:
        if not np.isfinite(value).all():
            raise EdgeError(f"'{name}' of the update holds NaN or infinity; the training diverged: lower its step size")
        largest = float(np.abs(value).max())
        raise EdgeError(
            f"'{name}' of the update holds {largest:g}, but max_update_norm is {self.bound:g};"
            " clip the update, or raise max_update_norm"
        )


def add(into: dict[str, Int64Array], other: Mapping[str, Int64Array]) -> None:
    """Add a total to another, in place; an empty total becomes a copy.

    Args:
        into: the total that is changed; its arrays are changed, too.
        other: the total that is added.
    Raises:
        EdgeError: they differ in names or shapes, or an array is not int64; nothing was added.
    """
    check_addable(into or other, other)
    if not into:
        into.update({name: np.array(value) for name, value in other.items()})
        return
    for name, value in other.items():
        np.add(into[name], value, out=into[name])


def check_addable(first: Mapping[str, Int64Array], second: Mapping[str, Int64Array]) -> None:
    """Check that two totals have the same names and shapes.

    Raises:
        EdgeError: they do not, or an array of the second is not int64; names the parameter.
    """
    if first.keys() != second.keys():
        names = sorted(first.keys() ^ second.keys())
        raise EdgeError(f"sums of updates differ in '{names[0]}'; all devices of a run must train the same parameters")
    for name, value in second.items():
        if value.dtype != np.int64:
            raise EdgeError(f"'{name}' of a sum of updates is {value.dtype}, not int64; encode updates with a Scale")
        if first[name].shape != value.shape:
            raise EdgeError(
                f"'{name}' has shape {first[name].shape} in one sum of updates and {value.shape} in another"
            )


def metric_value(value: float) -> float:
    """Return a metric rounded to a multiple of ``2**-24``.

    Sums of ``weight * value`` of such values are exact in float64 as long as they are below ``2**29``, so they do not
    depend on the order, either.

    Raises:
        EdgeError: the value is not a finite number below ``2**29``.
    """
    if not abs(value) < 1 << (53 - _METRIC_BITS):  # not true of NaN, either
        raise EdgeError(f"a metric is {value!r}; give a finite number below {1 << (53 - _METRIC_BITS):,}")
    return math.ldexp(float(np.rint(math.ldexp(value, _METRIC_BITS))), -_METRIC_BITS)
