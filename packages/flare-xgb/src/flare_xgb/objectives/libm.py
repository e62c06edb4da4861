"""Elementary functions of arrays, with the bits of the C library's.

XGBoost calls the C library for each element, and NumPy has implementations of its own, which differ in the last bit.
Results have the argument's dtype: float32 is computed by ``expf``, and so on.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from flare_xgb._jit import kernel

Floats = TypeVar("Floats", NDArray[np.float32], NDArray[np.float64])


def exp(x: Floats) -> Floats:
    """Return e to the power of each element."""
    return _of_flat(_exp, x)


def log(x: Floats) -> Floats:
    """Return the natural logarithm of each element: −infinity of zero, NaN of negative numbers."""
    return _of_flat(_log, x)


def log1p(x: Floats) -> Floats:
    """Return the natural logarithm of one plus each element."""
    return _of_flat(_log1p, x)


def log2(x: Floats) -> Floats:
    """Return the logarithm to base 2 of each element."""
    return _of_flat(_log2, x)


def erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the error function of each element."""
    return _of_flat(_erf, x)


def lgamma(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the absolute value of the gamma function of each element."""
    return _of_flat(_lgamma, x)


def _of_flat(function: Any, x: Floats) -> Floats:
    return cast(Floats, function(np.ravel(x)).reshape(np.shape(x)))


@kernel
def _exp(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = math.exp(x[i])
    return out


@kernel
def _log(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = np.log(x[i])
    return out


@kernel
def _log1p(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = np.log1p(x[i])
    return out


@kernel
def _log2(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = math.log2(x[i])
    return out


@kernel
def _erf(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = math.erf(x[i])
    return out


@kernel
def _lgamma(x: Any) -> Any:
    out = np.empty_like(x)
    for i in range(x.size):
        out[i] = math.lgamma(x[i])
    return out
