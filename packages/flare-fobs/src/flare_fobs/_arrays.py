"""Arrays on their way: a header with dtype and shape, and the elements, either behind the header or in a frame.

Header: its own length (u16), number of dimensions (u8), each dimension (u64), the dtype's name (ASCII, the rest). All
little-endian. Headers repeat from round to round, so both directions look them up before they work them out.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_fobs._registry import encoders
from flare_fobs._wire import ARRAY, ARRAY_ASIDE, ARRAY_FRAME, SCALAR, Frames, ext, is_set_aside
from flare_fobs.dtypes import dtype_from_name, dtype_name
from flare_fobs.errors import DecodeError

__all__ = ["MAX_INLINE_BYTES", "Layout", "encode_array", "encode_scalar", "header", "layout"]

MAX_INLINE_BYTES = 4096
"""Up to this size the elements travel in the metadata: one small copy is cheaper than one more buffer."""

_MAX_DIMENSIONS = getattr(np, "MAXDIMS", 64)  # which says 32 before 2.0, and is gone since
_MAX_HEADER_BYTES = 3 + 8 * _MAX_DIMENSIONS + 64
_MAX_CACHED = 4096
_headers: dict[tuple[np.dtype[Any], tuple[int, ...]], bytes] = {}
_layouts: dict[bytes, Layout] = {}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a header says."""

    name: str
    shape: tuple[int, ...]
    nbytes: int
    dtype: np.dtype[Any]


def encode_array(array: np.ndarray[Any, Any], frames: Frames) -> Any:
    """Turn an array into an extension value; a large one adds its memory to ``frames``, uncopied if C-contiguous."""
    key = (array.dtype, array.shape)
    start = _headers.get(key)
    if start is None:
        start = _remember(_headers, key, header(dtype_name(array.dtype), array.shape))
    if array.nbytes <= MAX_INLINE_BYTES:
        return ext(ARRAY, start + array.tobytes())
    # As bytes: many dtypes, bfloat16 and datetime64 among them, do not speak the buffer protocol.
    memory = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if is_set_aside(memory, frames):
        return ext(ARRAY_ASIDE, start)
    frames.append(memory.data)
    return ext(ARRAY_FRAME, start)


def encode_scalar(scalar: np.generic, frames: Frames) -> Any:
    """Turn a numpy scalar into an extension value."""
    return ext(SCALAR, header(dtype_name(scalar.dtype), ()) + scalar.tobytes())


def header(name: str, shape: tuple[int, ...]) -> bytes:
    """Describe an array."""
    count = len(shape)
    return struct.pack(f"<HB{count}Q", 3 + 8 * count + len(name), count, *shape) + name.encode("ascii")


def layout(data: bytes) -> Layout:
    """Read the header at the beginning of ``data``.

    Raises:
        DecodeError: there is none, or it describes an array that cannot be.
    """
    size = int.from_bytes(data[:2], "little")
    start = data[:size]
    known = _layouts.get(start)
    if known is None:
        known = _remember(_layouts, start, _parsed(start, size))
    return known


def _parsed(start: bytes, size: int) -> Layout:
    if not 3 < size <= _MAX_HEADER_BYTES or len(start) != size:
        raise DecodeError(f"an array header of {len(start)} bytes says that it has {size}")
    count = start[2]
    if count > _MAX_DIMENSIONS or 3 + 8 * count >= size:
        raise DecodeError(f"an array header of {size} bytes cannot hold {count} dimensions")
    shape = struct.unpack_from(f"<{count}Q", start, 3)
    name = start[3 + 8 * count :].decode("ascii", "replace")
    dtype = dtype_from_name(name)
    return Layout(name, shape, math.prod(shape) * dtype.itemsize, dtype)


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> Any:
    if len(cache) >= _MAX_CACHED:
        cache.clear()
    cache[key] = value
    return value


encoders[np.ndarray] = encode_array
encoders[np.memmap] = encode_array
for _kind in {np.dtype(code).type for code in "?bhilqBHILQefdgFDGMm"}:
    encoders[_kind] = encode_scalar
