"""Sums of floating-point numbers that do not depend on the order of the terms.

Sites add up their rows, and the server adds up the sites. A total must be the same to the last bit for any deal of
rows, so sums are held as integers: a number is a multiple of 2⁻³²⁰, written in digits of 32 bits, and digits of many
numbers add up in an int64 each without a carry. A total is rounded to float64 once, at the end. Integers also suit a
secure adder, which hides them by masks.

The long accumulator is due to U. Kulisch, Computer Arithmetic and Validity, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flare_xgb._jit import kernel

Sums = NDArray[np.int64]
"""(m, LENGTH): m sums; arrays of several sites add with ``+``."""

_DIGITS = 21
_SMALLEST = 320  # a digit of one at place 0 is 2⁻³²⁰
LENGTH = _DIGITS + 3
"""The integers of one sum: its digits, and the numbers of terms that are NaN, infinity and −infinity."""


def exact_sums(*terms: ArrayLike) -> Sums:
    """Sum each of the arrays of float32 or float64, or one number.

    What is below 2⁻³²⁰ in a term is cut off, and a term of at least 2²⁸⁸ counts as infinite.
    """
    sums = np.zeros((len(terms), LENGTH), np.int64)
    for sum_, each in zip(sums, terms, strict=True):
        flat = np.ascontiguousarray(each, np.float64).reshape(-1)
        _add(flat.view(np.int64), sum_)
    return sums


def total(sums: Sums) -> NDArray[np.float64]:
    """Return the sums, each rounded once to the nearest float64."""
    return np.array([_rounded(each.tolist()) for each in sums], np.float64)


def _rounded(sum_: Sequence[int]) -> float:
    digits, (nan, positive, negative) = sum_[:_DIGITS], sum_[_DIGITS:]
    if nan or (positive and negative):
        return math.nan
    if positive or negative:
        return math.inf if positive else -math.inf
    return math.ldexp(float(sum(digit << (32 * place) for place, digit in enumerate(digits))), -_SMALLEST)


@kernel
def _add(bits: Any, sum_: Any) -> None:
    mask = np.int64(0xFFFFFFFF)
    for i in range(bits.size):
        sign = np.int64(1) if bits[i] >= 0 else np.int64(-1)
        exponent = (bits[i] >> 52) & 0x7FF
        mantissa = bits[i] & np.int64(0xFFFFFFFFFFFFF)
        if exponent == 0x7FF and mantissa != 0:
            sum_[_DIGITS] += 1
            continue
        if exponent >= 1023 + 288:
            sum_[_DIGITS + (1 if sign > 0 else 2)] += 1
            continue
        place = exponent - 1075 + _SMALLEST  # of the mantissa's last bit
        if exponent == 0 or place <= -53:
            continue
        mantissa |= np.int64(1) << 52
        if place < 0:
            mantissa >>= -place
            place = 0
        digit, shift = place >> 5, place & 31
        low, high = (mantissa & mask) << shift, (mantissa >> 32) << shift
        sum_[digit] += sign * (low & mask)
        sum_[digit + 1] += sign * ((low >> 32) + (high & mask))
        sum_[digit + 2] += sign * (high >> 32)
