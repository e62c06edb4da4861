"""Reading and writing safetensors with NumPy alone; strict, since devices and gateways read what strangers send.

Layout: the header's length as a little-endian u64; the header, JSON: by tensor ``{"dtype", "shape", "data_offsets"}``
and under ``__metadata__`` strings by string; then the tensors' bytes, little-endian and in C order, without gap or
overlap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
MAX_HEADER_BYTES = 1 << 20


def dumps(tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Return tensors and metadata in the safetensors format.

    Raises:
        ValueError: a dtype that the format does not have; names the tensor.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: list[bytes] = []
    position = 0
    for name, tensor in tensors.items():
        # np.ascontiguousarray would give a scalar a dimension
        array = np.asarray(tensor, order="C")
        dtype = NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            raise ValueError(f"tensor {name!r} has dtype {array.dtype}, which safetensors cannot hold")
        part = array.astype(DTYPES[dtype], copy=False).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [position, position + len(part)],
        }
        parts.append(part)
        position += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def loads(content: bytes) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Return the tensors, read-only views of ``content``, and the metadata.

    Raises:
        ValueError: ``content`` is not exactly one valid file; says where.
    """
    if len(content) < 8:
        raise ValueError(f"{len(content)} bytes are too few for safetensors")
    size = int.from_bytes(content[:8], "little")
    if size > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"the header is said to have {size} bytes")
    try:
        header = json.loads(content[8 : 8 + size], object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata are not strings")
    data = memoryview(content)[8 + size :]
    places = {name: _place(name, entry) for name, entry in header.items()}
    position = 0
    for name, (_, _, start, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if start != position:
            raise ValueError(f"tensor {name!r} begins at {start}, not at {position}")
        position = end
    if position != len(data):
        raise ValueError(f"the tensors have {position} bytes, but {len(data)} follow the header")
    tensors = {
        name: np.frombuffer(data[start:end], dtype).reshape(shape)
        for name, (dtype, shape, start, end) in places.items()
    }
    return tensors, metadata


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return values


def _place(name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Return dtype, shape, start and end of a tensor."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of {name!r} needs dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2 or len(shape) > 32:
        raise ValueError(f"shape or data_offsets of {name!r} are not sizes")
    if math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} has {offsets[1] - offsets[0]} bytes, which are not those of its shape")
    return np.dtype(DTYPES[dtype]), tuple(shape), offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 48 for value in values)
