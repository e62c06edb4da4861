"""Gradients as integers, whose sums are exact in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flare_core import ModelError
from flare_xgb._jit import kernel

_TOP = 62
_FINEST = 149  # every float32 is a multiple of 2 ** -149


@dataclass(frozen=True)
class FixedPoint:
    """Two powers of two by which gradients and Hessians are multiplied to become int64.

    Args:
        gradient_bits: a gradient g becomes ``round(g * 2 ** gradient_bits)``.
        hessian_bits: the same for the Hessian.
    """

    gradient_bits: int
    hessian_bits: int

    @classmethod
    def fit(cls, gradient: float, hessian: float, rows: int) -> FixedPoint:
        """Choose the finest scale at which no sum overflows.

        With ``rows * bound * 2 ** bits <= 2 ** 61``, and a rounding of at most 1/2 for each of fewer than 2 ** 61 rows,
        a sum of any of the rows is at most 2 ** 61 + rows / 2 < 2 ** 62 in magnitude, half of what int64 holds.

        Args:
            gradient: no row's gradient exceeds it in magnitude.
            hessian: no row's Hessian exceeds it in magnitude.
            rows: number of rows of all sites together.
        Raises:
            ModelError: a bound is negative or not finite.
        """
        bits = []
        for name, bound in (("gradient", gradient), ("Hessian", hessian)):
            if not 0 <= bound < math.inf:
                raise ModelError(f"the largest {name} is {bound}; check labels, weights and the objective")
            # A power of two, which is all that the sites of a federation tell of their bounds.
            _, above = math.frexp(math.nextafter(bound, 0)) if bound else (0, 0)  # bound <= 2 ** above
            _, exponent = math.frexp(math.ldexp(max(rows, 1), above))  # bound * rows <= 2 ** exponent
            bits.append(min(_TOP - 1 - exponent, _FINEST) if bound else 0)
        return cls(*bits)

    def encode(self, gradients: npt.NDArray[np.float32], hessians: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return int64 [rows, 2] of float32 [rows] each.

        Raises:
            ModelError: a number is NaN, or so large that it does not fit.
        """
        out = np.empty((len(gradients), 2), np.int64)
        for at, (numbers, bits) in enumerate(((gradients, self.gradient_bits), (hessians, self.hessian_bits))):
            if not _encode(numbers, 2.0**bits, out[:, at]):
                raise ModelError(
                    "a gradient is NaN or beyond its bound; check labels and weights, or learn more slowly"
                )
        return out

    def decode(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the float64 of integers [..., 2]: the nearest to each exact sum."""
        numbers = np.array(sums, np.float64)
        numbers[..., 0] *= 2.0**-self.gradient_bits
        numbers[..., 1] *= 2.0**-self.hessian_bits
        return numbers


@kernel
def _encode(numbers: npt.NDArray[np.float32], factor: float, out: npt.NDArray[np.int64]) -> bool:
    most = 2.0**_TOP
    for at in range(len(numbers)):
        number = np.float64(numbers[at]) * factor
        if not abs(number) <= most:
            return False
        out[at] = np.int64(np.rint(number))
    return True
