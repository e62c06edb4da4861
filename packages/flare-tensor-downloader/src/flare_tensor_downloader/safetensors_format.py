"""Read and write safetensors files without copying tensors.

    offset  size
    0       8     length of the header, unsigned, little-endian
    8       …     header: JSON object, name to {"dtype", "shape", "data_offsets"}, space-padded to a multiple of 64
    …       …     the tensors' bytes, C order, little-endian, without gaps

The format is that of https://github.com/huggingface/safetensors, whose library can read the files. Nested params get
dotted names; ``flare.keys`` in ``__metadata__`` then holds the nested keys.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flare_core.files import replacing
from flare_core.model import Key, flatten, key_text, unflatten
from flare_fobs.dtypes import dtype_from_name, dtype_name
from flare_tensor_downloader.errors import SafetensorsError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_HEADER_BYTES = 100_000_000  # the limit of the format
_KEYS = "flare.keys"
_METADATA = "__metadata__"
_ALIGNMENT = 64

_CODE_OF_NAME = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}
_NAME_OF_CODE = {code: name for name, code in _CODE_OF_NAME.items()}


def header_of(
    tensors: Iterable[tuple[str, np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the first bytes of a file, up to those of the first tensor.

    Raises:
        SafetensorsError: the format does not support a dtype; names the tensor.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    offset = 0
    for name, dtype, shape in tensors:
        code = _CODE_OF_NAME.get(dtype_name(dtype.newbyteorder("=")))
        if code is None:
            raise SafetensorsError(f"'{name}' has dtype {dtype}, which safetensors does not support; convert it first")
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_file(path: Path, params: Mapping[str, Any]) -> None:
    """Write ``params`` to a file atomically: if this fails or the process dies, the old file stays as it was.

    Args:
        path: the file; it is replaced.
        params: name to array, nested mappings allowed.
    Raises:
        SafetensorsError: two keys have the same dotted name, a name is reserved, or a dtype is not supported.
        OSError: the file cannot be written, for example because the disk is full; names it.
    """
    arrays = {key: _little(np.asarray(value)) for key, value in flatten(params)}
    names = {key_text(key): list(key) if isinstance(key, tuple) else [key] for key in arrays}
    if len(names) != len(arrays):
        raise SafetensorsError(f"{path}: two keys have the same dotted name; rename one of {sorted(names)[:5]}")
    if _METADATA in names:
        raise SafetensorsError(f"{path}: a tensor has the name {_METADATA!r}, which safetensors reserves; rename it")
    metadata = {_KEYS: json.dumps(names)} if any(isinstance(key, tuple) for key in arrays) else None
    header = header_of([(key_text(key), array.dtype, array.shape) for key, array in arrays.items()], metadata)
    with replacing(path) as partial, partial.open("xb") as file:
        file.write(header)
        for array in arrays.values():
            file.write(array.reshape(-1).view(np.uint8).data)


def read_file(path: Path) -> dict[str, Any]:
    """Return the tensors of a file as read-only, memory-mapped arrays: pages are read when they are accessed.

    Raises:
        SafetensorsError: the file is not valid, is truncated, or has an unknown dtype; names it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if size < 8 or start > min(size, MAX_HEADER_BYTES):
            raise SafetensorsError(f"{path} is not a safetensors file: its header would end at byte {start} of {size}")
        try:
            header = json.loads(file.read(start - 8))
            metadata = header.pop(_METADATA, None) or {}
            nested = json.loads(metadata[_KEYS]) if _KEYS in metadata else {}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise SafetensorsError(
                f"{path} is not a safetensors file: its header is not the JSON object expected ({error})"
            ) from error
        data = (
            memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))[start:]
            if size > start
            else memoryview(b"")
        )
    arrays = {name: _array_in(data, name, entry, path) for name, entry in header.items()}
    keys: dict[Key, Array] = {}
    for name, array in arrays.items():
        place = nested.get(name, [name]) if isinstance(nested, dict) else None
        if not isinstance(place, list) or not place or not all(isinstance(part, str) for part in place):
            raise SafetensorsError(f"{path}: '{name}' has an invalid nested key ({_KEYS})")
        keys[place[0] if len(place) == 1 else tuple(place)] = array
    try:
        return unflatten(keys)
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise SafetensorsError(f"{path}: a tensor has the name of a nested mapping ({error})") from error


def _array_in(data: memoryview, name: str, entry: Any, path: Path) -> Array:
    try:
        dtype = dtype_from_name(_NAME_OF_CODE[entry["dtype"]])
        first, last = entry["data_offsets"]
        shape = tuple(int(length) for length in entry["shape"])
        if not 0 <= first <= last <= len(data):
            raise SafetensorsError(f"{path}: '{name}' ends at byte {last} of {len(data)}; the file is truncated")
        if any(length < 0 for length in shape):
            raise ValueError("a negative length")
        return np.frombuffer(data[first:last], dtype=np.uint8).view(dtype).reshape(shape)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, SafetensorsError):
            raise
        raise SafetensorsError(
            f"{path}: the entry of '{name}' cannot be read: {repr(entry)[:200]} ({error})"
        ) from error


def _little(array: Array) -> Array:
    """Return an array in C order and little-endian; a copy only if it is not."""
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else np.array(array, order="C", copy=True)
