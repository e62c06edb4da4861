"""Arithmetic in the field of secp256k1, as Numba kernels.

An element is a tuple of four 64-bit limbs, the least significant first, of any representative below 2**256;
:func:`canonical` returns the one below p = 2**256 - FOLD. Since 2**256 = FOLD mod p, what exceeds 256 bits is
multiplied by FOLD and added. Nothing here branches on a value. No secret scalar comes here: see ``points.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., object])
Element: TypeAlias = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

P = 2**256 - 2**32 - 977
ZERO_LIMB, ONE_LIMB = np.uint64(0), np.uint64(1)
FOLD = np.uint64(2**256 - P)
LIMB_BITS = 64


def kernel(function: _Function) -> _Function:
    """Compile a function of arrays and numbers to machine code, cached, which runs without the interpreter's lock."""
    return cast("_Function", numba.njit(nogil=True, cache=True)(function))


def element(value: int) -> Element:
    """Return an integer as an element."""
    limbs = [np.uint64(value % P >> shift & (1 << LIMB_BITS) - 1) for shift in range(0, 256, LIMB_BITS)]
    return limbs[0], limbs[1], limbs[2], limbs[3]


_ONE_MINUS_FOLD = element(1 - int(FOLD))


@intrinsic
def _emit_multiply_add(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return a * b + c + d of 64-bit limbs as the high and the low limb; 128 bits hold the largest result."""
    limb = numba.types.uint64
    pair: Any = numba.types.UniTuple(limb, 2)  # type: ignore[no-untyped-call]  # Numba's
    signature = pair(limb, limb, limb, limb)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, narrow = ir.IntType(2 * LIMB_BITS), ir.IntType(LIMB_BITS)
        a, b, c, d = (builder.zext(each, wide) for each in arguments)
        total = builder.add(builder.add(builder.mul(a, b), c), d)
        high = builder.lshr(total, ir.Constant(wide, LIMB_BITS))
        parts = [builder.trunc(high, narrow), builder.trunc(total, narrow)]
        return context.make_tuple(builder, signature.return_type, parts)

    return signature, emit


_multiply_add: Any = _emit_multiply_add  # in a kernel it has no first argument


@kernel
def _folded(c: np.uint64, t0: np.uint64, t1: np.uint64, t2: np.uint64, t3: np.uint64) -> Element:
    """Return c * 2**256 + t as an element, for c below 2**63."""
    c, t0 = _multiply_add(c, FOLD, t0, ZERO_LIMB)
    c, t1 = _multiply_add(c, ONE_LIMB, t1, ZERO_LIMB)
    c, t2 = _multiply_add(c, ONE_LIMB, t2, ZERO_LIMB)
    c, t3 = _multiply_add(c, ONE_LIMB, t3, ZERO_LIMB)
    c, t0 = _multiply_add(c, FOLD, t0, ZERO_LIMB)  # if it overflowed again, what is left is small
    return t0, t1 + c, t2, t3


@kernel
def multiply(a: Element, b: Element) -> Element:
    """Return a * b."""
    a0, a1, a2, a3 = a
    b0, b1, b2, b3 = b
    c, t0 = _multiply_add(a0, b0, ZERO_LIMB, ZERO_LIMB)
    c, t1 = _multiply_add(a0, b1, c, ZERO_LIMB)
    c, t2 = _multiply_add(a0, b2, c, ZERO_LIMB)
    t4, t3 = _multiply_add(a0, b3, c, ZERO_LIMB)
    c, t1 = _multiply_add(a1, b0, t1, ZERO_LIMB)
    c, t2 = _multiply_add(a1, b1, t2, c)
    c, t3 = _multiply_add(a1, b2, t3, c)
    t5, t4 = _multiply_add(a1, b3, t4, c)
    c, t2 = _multiply_add(a2, b0, t2, ZERO_LIMB)
    c, t3 = _multiply_add(a2, b1, t3, c)
    c, t4 = _multiply_add(a2, b2, t4, c)
    t6, t5 = _multiply_add(a2, b3, t5, c)
    c, t3 = _multiply_add(a3, b0, t3, ZERO_LIMB)
    c, t4 = _multiply_add(a3, b1, t4, c)
    c, t5 = _multiply_add(a3, b2, t5, c)
    t7, t6 = _multiply_add(a3, b3, t6, c)
    c, t0 = _multiply_add(t4, FOLD, t0, ZERO_LIMB)
    c, t1 = _multiply_add(t5, FOLD, t1, c)
    c, t2 = _multiply_add(t6, FOLD, t2, c)
    c, t3 = _multiply_add(t7, FOLD, t3, c)
    return _folded(c, t0, t1, t2, t3)


@kernel
def add(a: Element, b: Element) -> Element:
    """Return a + b."""
    c, t0 = _multiply_add(a[0], ONE_LIMB, b[0], ZERO_LIMB)
    c, t1 = _multiply_add(a[1], ONE_LIMB, b[1], c)
    c, t2 = _multiply_add(a[2], ONE_LIMB, b[2], c)
    c, t3 = _multiply_add(a[3], ONE_LIMB, b[3], c)
    return _folded(c, t0, t1, t2, t3)


@kernel
def negate(a: Element) -> Element:
    """Return -a. Since ~a = 2**256 - 1 - a = FOLD - 1 - a mod p, it is ~a + (1 - FOLD)."""
    return add((~a[0], ~a[1], ~a[2], ~a[3]), _ONE_MINUS_FOLD)


@kernel
def subtract(a: Element, b: Element) -> Element:
    """Return a - b."""
    return add(a, negate(b))


@kernel
def canonical(a: Element) -> Element:
    """Return the representative below p."""
    c, t0 = _multiply_add(ONE_LIMB, FOLD, a[0], ZERO_LIMB)  # a + FOLD reaches 2**256 if a reaches p
    c, t1 = _multiply_add(a[1], ONE_LIMB, c, ZERO_LIMB)
    c, t2 = _multiply_add(a[2], ONE_LIMB, c, ZERO_LIMB)
    c, t3 = _multiply_add(a[3], ONE_LIMB, c, ZERO_LIMB)
    return select(c, (t0, t1, t2, t3), a)


@kernel
def select(condition: np.uint64, a: Element, b: Element) -> Element:
    """Return a if the condition is 1, b if it is 0."""
    mask = ZERO_LIMB - condition
    return (
        b[0] ^ (mask & (a[0] ^ b[0])),
        b[1] ^ (mask & (a[1] ^ b[1])),
        b[2] ^ (mask & (a[2] ^ b[2])),
        b[3] ^ (mask & (a[3] ^ b[3])),
    )


@kernel
def is_zero(a: Element) -> np.uint64:
    """Return 1 if a is 0 mod p, otherwise 0."""
    t0, t1, t2, t3 = canonical(a)
    return np.uint64((t0 | t1 | t2 | t3) == ZERO_LIMB)


@kernel
def _square_times(a: Element, count: int) -> Element:
    for _ in range(count):
        a = multiply(a, a)
    return a


@kernel
def _powers_of_ones(a: Element) -> tuple[Element, Element, Element]:
    """Return a to the powers 2**2 - 1, 2**22 - 1 and 2**223 - 1: 2, 22 and 223 ones in binary."""
    x2 = multiply(_square_times(a, 1), a)
    x3 = multiply(_square_times(x2, 1), a)
    x6 = multiply(_square_times(x3, 3), x3)
    x9 = multiply(_square_times(x6, 3), x3)
    x11 = multiply(_square_times(x9, 2), x2)
    x22 = multiply(_square_times(x11, 11), x11)
    x44 = multiply(_square_times(x22, 22), x22)
    x88 = multiply(_square_times(x44, 44), x44)
    x176 = multiply(_square_times(x88, 88), x88)
    x220 = multiply(_square_times(x176, 44), x44)
    return x2, x22, multiply(_square_times(x220, 3), x3)


@kernel
def power_for_roots(a: Element) -> Element:
    """Return a to the power (p - 3) / 4, in binary 223 ones, 0, 22 ones, 00001011."""
    x2, x22, x223 = _powers_of_ones(a)
    t = multiply(_square_times(x223, 23), x22)
    t = multiply(_square_times(t, 5), a)
    return multiply(_square_times(t, 3), x2)


@kernel
def invert(a: Element) -> Element:
    """Return 1 / a, which is a to the power p - 2, in binary 223 ones, 0, 22 ones, 0000101101; 0 for 0."""
    x2, x22, x223 = _powers_of_ones(a)
    t = multiply(_square_times(x223, 23), x22)
    t = multiply(_square_times(t, 5), a)
    t = multiply(_square_times(t, 3), x2)
    return multiply(_square_times(t, 2), a)
