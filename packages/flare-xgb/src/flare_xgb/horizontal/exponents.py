"""Bounds that a sum can tell: the largest number of all sites, up to a power of two, from counts.

The largest of several numbers is no sum. But each site can count its number in the place of its exponent, and the
sum of the counts says which is the highest place that any site's number has, and of how many sites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LOWEST = -150  # below the exponent of the smallest float32
PLACES = 300  # up to 2**149; the last one is for what is infinite or no number


def exponent_counts(numbers: Sequence[float]) -> NDArray[np.int64]:
    """Count each number in the place of the largest power of two that is not above it; zero in none.

    Args:
        numbers: at least 0.
    Returns:
        int64 [numbers, PLACES].
    """
    counts = np.zeros((len(numbers), PLACES), np.int64)
    for row, number in zip(counts, numbers, strict=True):
        if not math.isfinite(number):
            row[-1] = 1
        elif number > 0:
            row[min(max(math.frexp(number)[1] - 1 - _LOWEST, 0), PLACES - 2)] = 1
    return counts


def power_of_two_above(number: float) -> float:
    """Return the least power of two that is not below a number; zero, infinity and NaN as they are."""
    if number == 0 or not math.isfinite(number):
        return number
    mantissa, exponent = math.frexp(number)
    return math.ldexp(1.0, exponent - (mantissa == 0.5))


def largest_powers(counts: NDArray[np.int64]) -> list[float]:
    """Return the largest power of two that was counted in each row; 0 if there is none, infinity for the last place."""
    powers = []
    for row in counts:
        places = np.flatnonzero(row)
        if not len(places):
            powers.append(0.0)
        else:
            powers.append(math.inf if places[-1] == PLACES - 1 else math.ldexp(1.0, int(places[-1]) + _LOWEST))
    return powers
