"""Numba's compiler with the settings of every kernel of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compile a function of arrays and numbers to machine code that runs without the interpreter's lock.

    Numba's own threads are never used: a process that has started them cannot fork. ``threads.py`` has others.
    Compiled code is cached beside the source. Arithmetic is IEEE 754's in the order written, nothing is fused.
    """
    return cast("_Function", numba.njit(nogil=True, cache=True, error_model="numpy")(function))
