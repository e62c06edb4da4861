"""Arithmetic in the field of secp256k1, for Numba kernels.

An element is a tuple of four 64-bit limbs, the least significant first, of any representative below 2**256;
:func:`canonical` returns the one below p = 2**256 - FOLD. Since 2**256 = FOLD mod p, what exceeds 256 bits is
multiplied by FOLD and added. Sums and differences are LLVM's integers of 256 bits, products are made of 128 bits.
Nothing here branches on a value. No secret scalar comes here: see ``points.py``.

A chain of squares waits for each of its results. So roots are taken of two elements at a time, whose chains a processor
overlaps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_Function = TypeVar("_Function", bound=Callable[..., object])
Element: TypeAlias = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
Pair: TypeAlias = tuple[Element, Element]

P = 2**256 - 2**32 - 977
ZERO_LIMB, ONE_LIMB = np.uint64(0), np.uint64(1)
_FOLD = 2**256 - P
_LIMBS, _LIMB_BITS = 4, 64
_ALL_ONES = np.uint64(2**_LIMB_BITS - 1)
_LOWEST_OF_P = np.uint64(P % 2**_LIMB_BITS)  # the other limbs of p are all ones
_LIMB, _WIDE = ir.IntType(_LIMB_BITS), ir.IntType(_LIMBS * _LIMB_BITS)
_ELEMENT: Any = numba.types.UniTuple(numba.types.uint64, _LIMBS)  # type: ignore[no-untyped-call]  # Numba's


def kernel(function: _Function) -> _Function:
    """Compile a function of arrays and numbers to machine code, cached, which runs without the interpreter's lock.

    Numba looks at the function's own file alone to see if the cache is new: after a change of another one, delete it.
    """
    return cast("_Function", numba.njit(nogil=True, cache=True)(function))


def element(value: int) -> Element:
    """Return an integer as an element."""
    limbs = [np.uint64(value % P >> shift & int(_ALL_ONES)) for shift in range(0, 256, _LIMB_BITS)]
    return limbs[0], limbs[1], limbs[2], limbs[3]


FOLD = element(_FOLD)
_ZERO = element(0)


def _operation(emit: Callable[[Any, Any, Any], Any]) -> Any:
    """Make an operation of two elements for kernels.

    Args:
        emit: emits the instructions, given the builder and the limbs of both; returns an integer of 256 bits.
    """

    def typed(typing: Any, a: Any, b: Any) -> Any:
        def emit_all(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b = ([builder.extract_value(each, at) for at in range(_LIMBS)] for each in arguments)
            number = emit(builder, a, b)
            shifted = [builder.lshr(number, _WIDE(at * _LIMB_BITS)) for at in range(_LIMBS)]
            return context.make_tuple(builder, signature.return_type, [builder.trunc(each, _LIMB) for each in shifted])

        return _ELEMENT(_ELEMENT, _ELEMENT), emit_all

    return intrinsic(typed)


def _emit_add(builder: Any, a: Any, b: Any) -> Any:
    once = builder.uadd_with_overflow(_joined(builder, a), _joined(builder, b))
    twice = builder.uadd_with_overflow(builder.extract_value(once, 0), _fold_if(builder, once))
    return builder.add(builder.extract_value(twice, 0), _fold_if(builder, twice))


def _emit_subtract(builder: Any, a: Any, b: Any) -> Any:
    once = builder.usub_with_overflow(_joined(builder, a), _joined(builder, b))
    twice = builder.usub_with_overflow(builder.extract_value(once, 0), _fold_if(builder, once))
    return builder.sub(builder.extract_value(twice, 0), _fold_if(builder, twice))


def _emit_multiply(builder: Any, a: Any, b: Any) -> Any:
    product = [_LIMB(0)] * (2 * _LIMBS)
    for row in range(_LIMBS):
        carry = _LIMB(0)
        for at in range(_LIMBS):
            carry, product[row + at] = _multiply_add(builder, a[row], b[at], product[row + at], carry)
        product[row + _LIMBS] = carry
    carry = _LIMB(0)
    for at in range(_LIMBS):
        carry, product[at] = _multiply_add(builder, product[_LIMBS + at], _LIMB(_FOLD), product[at], carry)
    beyond = builder.mul(builder.zext(carry, _WIDE), _WIDE(_FOLD))
    total = builder.uadd_with_overflow(_joined(builder, product[:_LIMBS]), beyond)
    return builder.add(builder.extract_value(total, 0), _fold_if(builder, total))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Any]:
    """Return a * b + c + d of limbs as the high and the low limb; 128 bits hold the largest result."""
    double = ir.IntType(2 * _LIMB_BITS)
    a, b, c, d = (builder.zext(each, double) for each in (a, b, c, d))
    total = builder.add(builder.add(builder.mul(a, b), c), d)
    return builder.trunc(builder.lshr(total, double(_LIMB_BITS)), _LIMB), builder.trunc(total, _LIMB)


def _joined(builder: Any, limbs: Sequence[Any]) -> Any:
    """Return limbs as an integer of 256 bits."""
    wide = [builder.zext(each, _WIDE) for each in limbs]
    return functools.reduce(builder.or_, [builder.shl(each, _WIDE(at * _LIMB_BITS)) for at, each in enumerate(wide)])


def _fold_if(builder: Any, result: Any) -> Any:
    """Return FOLD if a sum or a difference left the 256 bits, otherwise 0; it can leave them once more, not twice."""
    return builder.select(builder.extract_value(result, 1), _WIDE(_FOLD), _WIDE(0))


add, subtract, multiply = (_operation(emit) for emit in (_emit_add, _emit_subtract, _emit_multiply))


@kernel
def negate(a: Element) -> Element:
    """Return -a."""
    made: Element = subtract(_ZERO, a)
    return made


@kernel
def canonical(a: Element) -> Element:
    """Return the representative below p."""
    is_beyond = np.uint64((a[1] & a[2] & a[3]) == _ALL_ONES) & np.uint64(a[0] >= _LOWEST_OF_P)
    return select(is_beyond, (a[0] - _LOWEST_OF_P, ZERO_LIMB, ZERO_LIMB, ZERO_LIMB), a)


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
def multiply_pairs(a: Pair, b: Pair) -> Pair:
    """Return the products of the firsts and of the seconds."""
    return multiply(a[0], b[0]), multiply(a[1], b[1])


@kernel
def _square_times(a: Pair, count: int) -> Pair:
    first, second = a
    for _ in range(count):
        first, second = multiply(first, first), multiply(second, second)
    return first, second


@kernel
def _powers_of_ones(a: Pair) -> tuple[Pair, Pair, Pair]:
    """Return a to the powers 2**2 - 1, 2**22 - 1 and 2**223 - 1: 2, 22 and 223 ones in binary."""
    x2 = multiply_pairs(_square_times(a, 1), a)
    x3 = multiply_pairs(_square_times(x2, 1), a)
    x6 = multiply_pairs(_square_times(x3, 3), x3)
    x9 = multiply_pairs(_square_times(x6, 3), x3)
    x11 = multiply_pairs(_square_times(x9, 2), x2)
    x22 = multiply_pairs(_square_times(x11, 11), x11)
    x44 = multiply_pairs(_square_times(x22, 22), x22)
    x88 = multiply_pairs(_square_times(x44, 44), x44)
    x176 = multiply_pairs(_square_times(x88, 88), x88)
    x220 = multiply_pairs(_square_times(x176, 44), x44)
    return x2, x22, multiply_pairs(_square_times(x220, 3), x3)


@kernel
def power_for_roots(a: Pair) -> Pair:
    """Return a to the power (p - 3) / 4, in binary 223 ones, 0, 22 ones, 00001011."""
    x2, x22, x223 = _powers_of_ones(a)
    t = multiply_pairs(_square_times(x223, 23), x22)
    t = multiply_pairs(_square_times(t, 5), a)
    return multiply_pairs(_square_times(t, 3), x2)


@kernel
def invert(a: Element) -> Element:
    """Return 1 / a, which is a to the power p - 2 = 4 * ((p - 3) / 4) + 1; 0 for 0."""
    power, _ = _square_times(power_for_roots((a, a)), 2)
    made: Element = multiply(power, a)
    return made
