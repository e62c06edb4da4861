"""Numbers as integers that add up exactly, whatever their sizes.

A number is cut into 100 digits to the base 2**32, of which the lowest counts units of 2**-1074, the smallest float64;
so squares of float64 numbers fit, too. A digit has the sign of the number. Digits are added by themselves, as int64
that have room for those of 2**31 sites, and the total is read from their sums.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

DIGITS = 100
_BITS = 32
_UNIT = 1 << 1074


def to_digits(value: Fraction) -> NDArray[np.int64]:
    """Return the digits of a number, int64 [100]; what is less than the unit is cut off.

    Raises:
        OverflowError: the number is beyond 2**2126.
    """
    whole = int(value * _UNIT)
    magnitude = abs(whole)
    digits = np.frombuffer(magnitude.to_bytes(DIGITS * _BITS // 8, "little"), "<u4").astype(np.int64)
    return digits if whole >= 0 else -digits


def from_digits(digits: NDArray[np.int64]) -> Fraction:
    """Return the number of digits, or of sums of digits."""
    total = 0
    for digit in reversed(digits.tolist()):
        total = (total << _BITS) + digit
    return Fraction(total, _UNIT)
