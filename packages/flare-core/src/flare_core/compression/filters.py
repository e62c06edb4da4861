"""Filters that compress a model's tensors where it leaves one end, and restore them where it reaches the other.

A compressed tensor is an array of bytes: the length of a header (4 bytes, little-endian), the header in JSON (codec,
dtype, shape), and what the codec made of the values. Which keys are compressed stands in the model's ``meta``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from flare_core.compression.codecs import parse_codec
from flare_core.errors import FlareError, ModelError
from flare_core.filters import FilterContext, TensorFilter
from flare_core.model import FLModel, Key, ParamsType, key_text

__all__ = ["CompressTensors", "DecompressTensors"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

COMPRESSED = "flare.compressed"
MIN_VALUES = 1024  # smaller tensors, such as biases and batch statistics, stay as they are
_DTYPES = ("float32", "float64")
_RAW = "raw"


class CompressTensors(TensorFilter):
    """Compress tensors of real numbers; counters, flags and small tensors stay as they are.

    With ``topk`` what is left out of a difference is added to the next one of the same site (error feedback), so that
    nothing is lost for ever. Whole models cannot be sent so.

    Args:
        codec: as for :func:`~flare_core.compression.parse_codec`.
    Raises:
        RecipeError: there is no such codec.
    """

    def __init__(self, codec: str) -> None:
        self.codec = codec
        self._codec = parse_codec(codec)
        self._left_out: dict[Key, Array] = {}
        self.same_for_all_sites = self._codec.name != "topk"

    def process(self, model: FLModel, context: FilterContext) -> FLModel:
        if model.params is None:
            return model
        if self._codec.name == "topk" and model.params_type is not ParamsType.DIFF:
            raise ModelError(
                f"{context.site}: compression {self.codec!r} leaves values out, which only a difference allows; use"
                " params_transfer_type='DIFF'"
            )
        return replace(super().process(model, context), meta={**model.meta, COMPRESSED: self._codec.text})

    def process_tensor(self, key: Key, array: Any, context: FilterContext) -> Any:
        array = np.asarray(array)
        if array.dtype == np.uint8 and array.ndim == 1:  # or it would be taken for a compressed one
            return _packed(_RAW, array, array.tobytes())
        if array.dtype.name not in _DTYPES or array.size < MIN_VALUES:
            return array
        values = np.ascontiguousarray(array, np.float32).reshape(-1)
        if self._codec.name == "topk":
            left = self._left_out.get(key)
            values = values + left if left is not None else values.copy()
        try:
            data = self._codec.encode(values)
        except ModelError as error:
            raise ModelError(f"{context.site}: '{key_text(key)}': {error}") from error
        if self._codec.name == "topk":
            self._left_out[key] = values - self._codec.decode(data, values.size)
        return _packed(self._codec.text, array, data)


class DecompressTensors(TensorFilter):
    """Restore what :class:`CompressTensors` has compressed; models that it has not stay as they are."""

    same_for_all_sites = True

    def process(self, model: FLModel, context: FilterContext) -> FLModel:
        if COMPRESSED not in model.meta:
            return model
        meta = {name: value for name, value in model.meta.items() if name != COMPRESSED}
        return replace(super().process(model, context), meta=meta)

    def process_tensor(self, key: Key, array: Any, context: FilterContext) -> Any:
        array = np.asarray(array)
        if array.dtype != np.uint8 or array.ndim != 1:
            return array
        try:
            return _unpacked(array)
        except (FlareError, ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
            raise ModelError(f"{context.site}: '{key_text(key)}' is no compressed tensor: {error}") from error


def _packed(codec: str, array: Array, data: bytes) -> Array:
    header = json.dumps({"codec": codec, "dtype": array.dtype.name, "shape": array.shape}).encode()
    return np.frombuffer(b"".join((len(header).to_bytes(4, "little"), header, data)), np.uint8)


def _unpacked(array: Array) -> Array:
    data = array.data
    size = int.from_bytes(data[:4], "little")
    header: Mapping[str, Any] = json.loads(bytes(data[4 : 4 + size]))
    shape = tuple(int(length) for length in header["shape"])
    if header["codec"] == _RAW:
        return np.frombuffer(data[4 + size :], np.uint8)
    if header["dtype"] not in _DTYPES or any(length < 0 for length in shape):
        raise ModelError(f"its header says dtype {header['dtype']!r} and shape {shape}")
    values = parse_codec(header["codec"]).decode(data[4 + size :], math.prod(shape))
    return values.astype(header["dtype"], copy=False).reshape(shape)
