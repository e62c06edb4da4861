"""The hash to the curve, and points times scalars, against RFC 9380 and against plain integers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import coincurve
import numba
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_psi.group import MalformedPointError, field, hash_to_curve, multiply, new_secret
from flare_psi.group.hashing import expand_messages

TAG = b"QUUX-V01-CS02-with-secp256k1_XMD:SHA-256_SSWU_RO_"
# RFC 9380, appendix J.8.1: message, P.x, P.y
VECTORS = [
    (
        b"",
        "c1cae290e291aee617ebaef1be6d73861479c48b841eaba9b7b5852ddfeb1346",
        "64fa678e07ae116126f08b022a94af6de15985c996c3a91b64c406a960e51067",
    ),
    (
        b"abc",
        "3377e01eab42db296b512293120c6cee72b6ecf9f9205760bd9ff11fb3cb2c4b",
        "7f95890f33efebd1044d382a01b1bee0900fb6116f94688d487c6c7b9c8371f6",
    ),
    (
        b"abcdef0123456789",
        "bac54083f293f1fe08e4a70137260aa90783a5cb84d3f35848b324d0674b0e3a",
        "4436476085d4c3c4508b60fcf4389c40176adce756b398bdee27bca19758d828",
    ),
    (
        b"q128_" + b"q" * 128,
        "e2167bc785333a37aa562f021f1e881defb853839babf52a7f72b102e41890e9",
        "f2401dd95cc35867ffed4f367cd564763719fbc6a53e969fb8496a1e6685d873",
    ),
    (
        b"a512_" + b"a" * 512,
        "e3c8d35aaaf0b9b647e88a0a0a7ee5d5bed5ad38238152e4e6fd8c1f8cb7c998",
        "8446eeb6181bf12f56a9d24e262221cc2f0c4725c7e3803024b5888ee5823aa6",
    ),
]
ELEMENTS = st.one_of(
    st.integers(0, 2**256 - 1),
    st.sampled_from([0, 1, reference.P - 1, reference.P, reference.P + 1, 2**256 - 1, 2**255, 2**64 - 1, 2**192]),
)


# Operations of elements exist in kernels only.
multiplied = numba.njit(lambda a, b: field.multiply(a, b))
added = numba.njit(lambda a, b: field.add(a, b))
subtracted = numba.njit(lambda a, b: field.subtract(a, b))


def limbs(value):
    return tuple(np.uint64(value >> shift & 2**64 - 1) for shift in range(0, 256, 64))


def number(element):
    return sum(int(limb) << 64 * at for at, limb in enumerate(element))


@pytest.mark.parametrize(("message", "x", "y"), VECTORS)
def test_the_hash_gives_the_points_of_the_rfc(message, x, y):
    assert hash_to_curve([message], TAG)[0].tobytes().hex() == x + y


@pytest.mark.parametrize(("message", "x", "y"), VECTORS)
def test_the_slow_reference_gives_the_points_of_the_rfc(message, x, y):
    assert reference.hash_to_curve(message, TAG) == (int(x, 16), int(y, 16))


def test_the_hash_equals_the_slow_reference_for_many_messages_and_threads():
    messages = [f"id {number}".encode() * (number % 5) for number in range(1500)]
    with ThreadPoolExecutor(3) as threads:
        points = hash_to_curve(messages, b"tag", threads)
    assert np.array_equal(points, hash_to_curve(messages, b"tag"))
    for at in range(0, 1500, 11):
        x, y = reference.hash_to_curve(messages[at], b"tag")
        assert points[at].tobytes() == x.to_bytes(32, "big") + y.to_bytes(32, "big")


def test_another_tag_gives_other_points():
    assert not np.array_equal(hash_to_curve([b"a"], b"one"), hash_to_curve([b"a"], b"other"))


@pytest.mark.parametrize("tag", [b"", bytes(256)])
def test_a_tag_of_another_length_is_refused(tag):
    with pytest.raises(ValueError, match="give 1 to 255"):
        expand_messages([b"a"], tag)


@given(a=ELEMENTS, b=ELEMENTS)
@settings(deadline=None, max_examples=300)
def test_field_arithmetic_equals_that_of_integers(a, b):
    one, other = limbs(a), limbs(b)
    assert number(multiplied(one, other)) % reference.P == a * b % reference.P
    assert number(added(one, other)) % reference.P == (a + b) % reference.P
    assert number(subtracted(one, other)) % reference.P == (a - b) % reference.P
    assert number(field.canonical(one)) == a % reference.P
    assert field.is_zero(one) == (a % reference.P == 0)


@given(a=ELEMENTS)
@settings(deadline=None, max_examples=50)
def test_powers_equal_those_of_integers(a):
    assert number(field.invert(limbs(a))) % reference.P == pow(a, reference.P - 2, reference.P)
    for at, power in enumerate(field.power_for_roots((limbs(a), limbs(a + 1 & 2**256 - 1)))):
        base = a + at & 2**256 - 1
        assert number(power) % reference.P == pow(base, (reference.P - 3) // 4, reference.P)


def test_points_times_a_scalar_equal_plain_integers_and_the_librarys_own_interface():
    points, secret = hash_to_curve([b"a", b"b", b"c"], TAG), new_secret()
    products = multiply(points, secret)
    for point, product in zip(points, products, strict=True):
        x, y = (int.from_bytes(point[at : at + 32].tobytes(), "big") for at in (0, 32))
        expected = reference.times(int.from_bytes(secret, "big"), (x, y))
        assert product.tobytes() == reference.compressed(expected)
        assert product.tobytes() == coincurve.PublicKey(b"\4" + point.tobytes()).multiply(secret).format()


def test_the_order_of_two_scalars_does_not_matter():
    points, one, other = hash_to_curve([str(at).encode() for at in range(2500)], TAG), new_secret(), new_secret()
    with ThreadPoolExecutor(2) as threads:
        assert np.array_equal(
            multiply(multiply(points, one), other), multiply(multiply(points, other, threads), one, threads)
        )


def malformed():
    x, _ = reference.hash_to_curve(b"a", TAG)
    no_root = next(x for x in range(1, 100) if reference.root(x**3 + 7) is None)
    yield "zeros", bytes(33)
    yield "an unknown prefix", b"\5" + x.to_bytes(32, "big")
    yield "infinity", b"\0" * 33
    yield "x without a point, so that it would be one of the twist", b"\2" + no_root.to_bytes(32, "big")
    yield "x = 0, which no point has", b"\2" + bytes(32)
    yield "x beyond the field", b"\2" + reference.P.to_bytes(32, "big")
    yield "all ones", b"\xff" * 33


@pytest.mark.parametrize(("what", "point"), list(malformed()))
def test_bytes_that_are_no_point_are_refused_with_their_place(what, point):
    points = multiply(hash_to_curve([str(at).encode() for at in range(1200)], TAG), new_secret())
    points[1100] = np.frombuffer(point, np.uint8)
    with pytest.raises(MalformedPointError, match="at place 1100") as caught:
        multiply(points, new_secret())
    assert caught.value.index == 1100


def test_coordinates_that_are_not_on_the_curve_are_refused():
    points = hash_to_curve([b"a"], TAG)
    points[0, 63] ^= 1
    with pytest.raises(MalformedPointError):
        multiply(points, new_secret())


def test_a_secret_is_a_scalar_of_the_group():
    assert all(1 <= int.from_bytes(new_secret(), "big") < reference.ORDER for _ in range(100))
