"""The hash to the curve: suite secp256k1_XMD:SHA-256_SSWU_RO_ of RFC 9380, section 8.7.

A message is expanded to two field elements (section 5), each is mapped to a point of the curve E' (section 6.6.2 and
appendix F.2), and the sum of both points is brought to secp256k1 by a 3-isogeny (appendix E.1). We add the points on
E', which gives the same point for one isogeny less, and divide for many messages at a time, with one inversion for all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from flare_psi.group import field
from flare_psi.group.field import Element, Pair, element, kernel

Bytes = NDArray[np.uint8]

_UNIFORM_BYTES = 96  # two integers of 48 bytes, whose remainders mod p are uniform
_AT_ONCE = 1024  # messages for one inversion
_BLOCK_BYTES = 64  # of SHA-256

_A = element(0x3F8731ABDD661ADCA08A5558F0F5D272E953D363CB6F0E5D405447C01A444533)
_B = element(1771)
_Z = element(-11)
_ROOT = element(0x31FDF302724013E57AD13FB38F842AFEEC184F00A74789DD286729C8303C4A59)  # of -Z
_ONE = element(1)
_X_NUMERATOR = (
    element(0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA8C7),
    element(0x07D3D4C80BC321D5B9F315CEA7FD44C5D595D2FC0BF63B92DFFF1044F17C6581),
    element(0x534C328D23F234E6E2A413DECA25CAECE4506144037C40314ECBD0B53D9DD262),
    element(0x8E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38E38DAAAAA88C),
)
_X_DENOMINATOR = (
    element(0xD35771193D94918A9CA34CCBB7B640DD86CD409542F8487D9FE6B745781EB49B),
    element(0xEDADC6F64383DC1DF7C4B2D51B54225406D36B641F5E41BBC52A56612A8C6D14),
    element(1),
)
_Y_NUMERATOR = (
    element(0x4BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684B8E38E23C),
    element(0xC75E0C32D5CB7C0FA9D0A54B12A0A6D5647AB046D686DA6FDFFC90FC201D71A3),
    element(0x29A6194691F91A73715209EF6512E576722830A201BE2018A765E85A9ECEE931),
    element(0x2F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F684BDA12F38E38D84),
)
_Y_DENOMINATOR = (
    element(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFF93B),
    element(0x7A06534BB8BDB49FD5E9E6632722C2989467C1BFC8E8D978DFB425D2685C2573),
    element(0x6484AA716545CA2CF3A70C3FA8FE337E0A3D21162F0D6299A7BF8192BFD2A76F),
    element(1),
)


def hash_to_curve(messages: Sequence[bytes], tag: bytes, threads: Executor | None = None) -> Bytes:
    """Hash messages to points of secp256k1.

    Args:
        messages: n messages of any length.
        tag: the domain separation tag, of 1 to 255 bytes.
        threads: shares the work; None for this thread alone.
    Returns:
        uint8 [n, 64]: the affine coordinates x and y, big-endian.
    Raises:
        ArithmeticError: a message maps to the point at infinity, for which no message is known.
    """
    points = np.empty((len(messages), 64), np.uint8)

    def part(start: int) -> bool:
        own = slice(start, start + _AT_ONCE)
        return bool(_map(expand_messages(messages[own], tag), points[own]))

    if not all((map if threads is None else threads.map)(part, range(0, len(messages), _AT_ONCE))):
        raise ArithmeticError("a message maps to the point at infinity")
    return points


def expand_messages(messages: Sequence[bytes], tag: bytes) -> Bytes:
    """Expand messages to 96 uniform bytes each: expand_message_xmd of RFC 9380, section 5.3.1, with SHA-256.

    Raises:
        ValueError: the tag is empty, or longer than 255 bytes.
    """
    if not 1 <= len(tag) <= 255:
        raise ValueError(f"the tag has {len(tag)} bytes; give 1 to 255")
    sha256, ending = hashlib.sha256, tag + bytes([len(tag)])
    zeros = sha256(bytes(_BLOCK_BYTES))
    first_ending = _UNIFORM_BYTES.to_bytes(2, "big") + b"\0" + ending
    endings = [bytes([number]) + ending for number in (1, 2, 3)]
    parts = []
    for message in messages:
        begun = zeros.copy()
        begun.update(message + first_ending)
        zeroth = begun.digest()
        block = sha256(zeroth + endings[0]).digest()
        parts.append(block)
        as_number = int.from_bytes(zeroth, "big")
        for each in endings[1:]:
            mixed = (as_number ^ int.from_bytes(block, "big")).to_bytes(32, "big")
            block = sha256(mixed + each).digest()
            parts.append(block)
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, _UNIFORM_BYTES)


@kernel
def _limb(data: Bytes, start: int) -> np.uint64:
    """Return 8 big-endian bytes."""
    value = field.ZERO_LIMB
    for at in range(start, start + 8):
        value = value << np.uint64(8) | np.uint64(data[at])
    return value


@kernel
def _field_element(data: Bytes, start: int) -> Element:
    """Return 48 big-endian bytes mod p."""
    high = (_limb(data, start + 8), _limb(data, start), field.ZERO_LIMB, field.ZERO_LIMB)
    low = (_limb(data, start + 40), _limb(data, start + 32), _limb(data, start + 24), _limb(data, start + 16))
    made: Element = field.add(field.multiply(high, field.FOLD), low)
    return made


@kernel
def _roots_of_ratios(u: Pair, v: Pair) -> tuple[tuple[np.uint64, np.uint64], Pair]:
    """Return, for both pairs of elements, 1 and the root of u / v, or 0 and that of Z * u / v (appendix F.2.1.2)."""
    uv = field.multiply_pairs(u, v)
    roots = field.power_for_roots(field.multiply_pairs(field.multiply_pairs(v, v), uv))
    roots = field.multiply_pairs(roots, uv)
    squares = field.multiply_pairs(field.multiply_pairs(roots, roots), v)
    first = field.is_zero(field.subtract(squares[0], u[0]))
    second = field.is_zero(field.subtract(squares[1], u[1]))
    others = field.multiply_pairs(roots, (_ROOT, _ROOT))
    chosen = field.select(first, roots[0], others[0]), field.select(second, roots[1], others[1])
    return (first, second), chosen


@kernel
def _candidate(u: Element) -> tuple[Element, Element, Element, Element, Element]:
    """Return Z u**2, the numerator and denominator of x, and those of its y**2: steps 1 to 16 of appendix F.2."""
    zu2 = field.multiply(_Z, field.multiply(u, u))
    t2 = field.add(field.multiply(zu2, zu2), zu2)
    numerator = field.multiply(_B, field.add(t2, _ONE))
    denominator = field.multiply(_A, field.select(field.is_zero(t2), _Z, field.negate(t2)))
    square = field.multiply(denominator, denominator)
    gx = field.add(field.multiply(numerator, numerator), field.multiply(_A, square))
    cube = field.multiply(square, denominator)
    gx = field.add(field.multiply(gx, numerator), field.multiply(_B, cube))
    return zu2, numerator, denominator, gx, cube


@kernel
def _chosen(
    u: Element, zu2: Element, numerator: Element, is_first: np.uint64, root: Element
) -> tuple[Element, Element]:
    """Return the numerator of x, and y, of the point of E': steps 17 to 24 of appendix F.2."""
    y = field.select(is_first, root, field.multiply(field.multiply(zu2, u), root))
    is_same = ~(field.canonical(u)[0] ^ field.canonical(y)[0]) & field.ONE_LIMB
    x = field.select(is_first, numerator, field.multiply(zu2, numerator))
    return x, field.select(is_same, y, field.negate(y))


@kernel
def _invert_all(elements: list[Element], products: list[Element]) -> None:
    """Replace nonzero elements by their inverses, with one inversion; ``products`` is overwritten."""
    product = _ONE
    for at in range(len(elements)):
        products[at] = product
        product = field.multiply(product, elements[at])
    inverse = field.invert(product)
    for at in range(len(elements) - 1, -1, -1):
        own = field.multiply(inverse, products[at])
        inverse = field.multiply(inverse, elements[at])
        elements[at] = own


@kernel
def _polynomial(coefficients: tuple[Element, ...], x: Element) -> Element:
    """Return the value of a polynomial, the constant first."""
    value = coefficients[len(coefficients) - 1]
    for at in range(len(coefficients) - 2, -1, -1):
        value = field.add(field.multiply(value, x), coefficients[at])
    return value


@kernel
def _write(number: Element, out: Bytes, start: int) -> None:
    """Write an element as 32 big-endian bytes."""
    limbs = field.canonical(number)
    for at in range(32):
        out[start + at] = np.uint8(limbs[3 - at // 8] >> np.uint64(8 * (7 - at % 8)) & np.uint64(255))


@kernel
def _map(uniform: Bytes, out: Bytes) -> bool:
    """Map uint8 [n, 96] to points, uint8 [n, 64]; return False if one is the point at infinity."""
    count = len(uniform)
    xs, ys, below = [_ONE] * (2 * count), [_ONE] * (2 * count), [_ONE] * (2 * count)
    products = [_ONE] * (2 * count)
    for at in range(0, 2 * count, 2):
        u, v = _field_element(uniform[at // 2], 0), _field_element(uniform[at // 2], 48)
        zu2, x0, below[at], gx0, cube0 = _candidate(u)
        zv2, x1, below[at + 1], gx1, cube1 = _candidate(v)
        is_first, roots = _roots_of_ratios((gx0, gx1), (cube0, cube1))
        xs[at], ys[at] = _chosen(u, zu2, x0, is_first[0], roots[0])
        xs[at + 1], ys[at + 1] = _chosen(v, zv2, x1, is_first[1], roots[1])
    _invert_all(below, products)
    is_finite = True
    slopes = [_ONE] * count
    for at in range(count):
        xs[2 * at] = field.multiply(xs[2 * at], below[2 * at])
        xs[2 * at + 1] = field.multiply(xs[2 * at + 1], below[2 * at + 1])
        slopes[at] = field.subtract(xs[2 * at + 1], xs[2 * at])
        is_finite &= field.is_zero(slopes[at]) == field.ZERO_LIMB
    _invert_all(slopes, products)
    for at in range(count):
        x0, x1, y0 = xs[2 * at], xs[2 * at + 1], ys[2 * at]
        slope = field.multiply(slopes[at], field.subtract(ys[2 * at + 1], y0))
        x = field.subtract(field.subtract(field.multiply(slope, slope), x0), x1)
        xs[at] = x
        ys[at] = field.subtract(field.multiply(slope, field.subtract(x0, x)), y0)
        slopes[at] = field.multiply(_polynomial(_X_DENOMINATOR, x), _polynomial(_Y_DENOMINATOR, x))
        is_finite &= field.is_zero(slopes[at]) == field.ZERO_LIMB
    _invert_all(slopes, products)
    for at in range(count):
        x, inverse = xs[at], slopes[at]
        over_x = field.multiply(inverse, _polynomial(_Y_DENOMINATOR, x))
        over_y = field.multiply(inverse, _polynomial(_X_DENOMINATOR, x))
        _write(field.multiply(_polynomial(_X_NUMERATOR, x), over_x), out[at], 0)
        _write(field.multiply(ys[at], field.multiply(_polynomial(_Y_NUMERATOR, x), over_y)), out[at], 32)
    return is_finite
