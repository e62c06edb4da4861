"""Arrays in a message: a header with dtype and shape, and the elements, either after the header or in a frame.

Header: its own length (u16), number of dimensions (u8), each dimension (u64), the dtype's name (ASCII, the rest). All
little-endian.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from msgpack import ExtType

from flare_fobs._registry import encoders
from flare_fobs._wire import ARRAY, ARRAY_ASIDE, ARRAY_FRAME, SCALAR, Frames, is_set_aside
from flare_fobs.dtypes import dtype_from_name, dtype_name
from flare_fobs.errors import DecodeError

MAX_INLINE_BYTES = 4096
"""Up to this size the elements are part of the metadata: one small copy is cheaper than one more buffer."""

_MAX_DIMENSIONS = getattr(np, "MAXDIMS", 64)  # numpy 2 allows 64 and has no such constant
_MAX_HEADER_BYTES = 3 + 8 * _MAX_DIMENSIONS + 64


@dataclass(frozen=True, slots=True)
class Layout:
    """The contents of a header."""

    name: str
    shape: tuple[int, ...]
    nbytes: int
    dtype: np.dtype[Any]


def encode_array(array: np.ndarray[Any, Any], frames: Frames) -> Any:
    """Turn an array into an extension value; a large one adds its memory to ``frames``, uncopied if C-contiguous."""
    start = header(dtype_name(array.dtype), array.shape)
    if array.nbytes <= MAX_INLINE_BYTES:
        return ExtType(ARRAY, start + array.tobytes())
    # As bytes: many dtypes, such as bfloat16 and datetime64, do not support the buffer protocol.
    memory = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if is_set_aside(memory, frames):
        return ExtType(ARRAY_ASIDE, start)
    frames.append(memory.data)
    return ExtType(ARRAY_FRAME, start)


def encode_scalar(scalar: np.generic, frames: Frames) -> Any:
    """Turn a numpy scalar into an extension value."""
    return ExtType(SCALAR, header(dtype_name(scalar.dtype), ()) + scalar.tobytes())


@lru_cache(maxsize=4096)  # the same arrays are sent in every round
def header(name: str, shape: tuple[int, ...]) -> bytes:
    """Return the header of an array."""
    count = len(shape)
    return struct.pack(f"<HB{count}Q", 3 + 8 * count + len(name), count, *shape) + name.encode("ascii")


def layout(data: bytes) -> Layout:
    """Read the header at the beginning of ``data``.

    Raises:
        DecodeError: the header is missing or damaged, or describes an impossible array.
    """
    return _parsed(data[: int.from_bytes(data[:2], "little")])


@lru_cache(maxsize=4096)
def _parsed(start: bytes) -> Layout:
    size = int.from_bytes(start[:2], "little")
    if not 3 < size <= _MAX_HEADER_BYTES or len(start) != size:
        raise DecodeError(f"an array header of {len(start)} bytes says that it has {size}")
    count = start[2]
    if count > _MAX_DIMENSIONS or 3 + 8 * count >= size:
        raise DecodeError(f"an array header of {size} bytes cannot hold {count} dimensions")
    shape = struct.unpack_from(f"<{count}Q", start, 3)
    name = start[3 + 8 * count :].decode("ascii", "replace")
    dtype = dtype_from_name(name)
    return Layout(name, shape, math.prod(shape) * dtype.itemsize, dtype)


encoders[np.ndarray] = encode_array
encoders[np.memmap] = encode_array
for _kind in {np.dtype(code).type for code in "?bhilqBHILQefdgFDGMm"}:
    encoders[_kind] = encode_scalar
