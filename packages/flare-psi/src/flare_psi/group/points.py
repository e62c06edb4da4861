"""Points of secp256k1 times a secret scalar, by libsecp256k1 through coincurve.

The loop over the points is compiled, so that it runs without the interpreter's lock and its cost per call: a kernel of
Numba calls the library's functions at their addresses.
"""

from __future__ import annotations

import ctypes
import secrets
from concurrent.futures import Executor

import numba
import numpy as np
from coincurve._libsecp256k1 import ffi, lib
from numpy.typing import NDArray

from flare_core import FlareError

Bytes = NDArray[np.uint8]

COMPRESSED_BYTES = 33
SECRET_BYTES = 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_AT_ONCE = 1024
_POINT_BYTES = 64  # of libsecp256k1's own form
_CONTEXT = int(ffi.cast("uintptr_t", lib.secp256k1_context_static))  # enough, as no public key is made of a secret


class MalformedPointError(FlareError, ValueError):
    """Bytes are no point of the curve.

    Args:
        index: the place of the first such bytes.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"the bytes at place {index} are no point of secp256k1")
        self.index = index


def new_secret() -> bytes:
    """Return a random scalar of 1 to the group's order - 1, as 32 big-endian bytes."""
    return (1 + secrets.randbelow(ORDER - 1)).to_bytes(SECRET_BYTES, "big")


def multiply(points: Bytes, secret: bytes, threads: Executor | None = None) -> Bytes:
    """Multiply points by a scalar.

    libsecp256k1 takes a time that depends on the scalar, though not on the points; docs/psi.md says what that means.

    Args:
        points: uint8 [n, 33], compressed as in SEC 1, or [n, 64], the affine coordinates x and y.
        secret: the scalar, 32 big-endian bytes.
        threads: shares the work; None for this thread alone.
    Returns:
        uint8 [n, 33]: compressed points.
    Raises:
        MalformedPointError: a point is not on the curve; the curve has a prime order, so each point that is has it too.
    """
    width = points.shape[1]
    prefixed = points
    if width == 64:
        prefixed = np.empty((len(points), 65), np.uint8)
        prefixed[:, 0], prefixed[:, 1:] = 4, points
    products = np.empty((len(points), COMPRESSED_BYTES), np.uint8)
    scalar = np.frombuffer(secret, np.uint8)
    starts = range(0, len(points), _AT_ONCE)

    def part(start: int) -> int:
        found = int(_multiply(prefixed[start : start + _AT_ONCE], scalar, products[start : start + _AT_ONCE], _CONTEXT))
        return -1 if found < 0 else start + found

    for malformed in (map if threads is None else threads.map)(part, starts):
        if malformed >= 0:
            raise MalformedPointError(malformed)
    return products


def _address(name: str) -> int:
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


_POINTER = ctypes.c_void_p
_parse = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_size_t)(
    _address("secp256k1_ec_pubkey_parse")
)
_times = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER)(_address("secp256k1_ec_pubkey_tweak_mul"))
_serialize = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, _POINTER, _POINTER, ctypes.c_uint)(
    _address("secp256k1_ec_pubkey_serialize")
)
_COMPRESSED = int(lib.SECP256K1_EC_COMPRESSED)


@numba.njit(nogil=True)  # not cached: it holds addresses of this process
def _multiply(points: Bytes, scalar: Bytes, products: Bytes, context: int) -> int:
    """Multiply points; return the place of the first that is malformed, or -1."""
    point, length = np.empty(_POINT_BYTES, np.uint8), np.empty(1, np.uint64)
    for at in range(len(points)):
        if _parse(context, point.ctypes.data, points[at].ctypes.data, points.shape[1]) != 1:
            return at
        if _times(context, point.ctypes.data, scalar.ctypes.data) != 1:
            return at
        length[0] = COMPRESSED_BYTES
        _serialize(context, products[at].ctypes.data, length.ctypes.data, point.ctypes.data, _COMPRESSED)
    return -1
