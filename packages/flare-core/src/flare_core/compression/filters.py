"""Filters that compress the tensors of a model before it is sent, and decompress them on arrival.

A compressed tensor is an array of bytes: the length of a header (4 bytes, little-endian), the header in JSON (codec,
dtype, shape), and the encoded values. The model's ``meta`` says that it is compressed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flare_core.compression.codecs import parse_codec
from flare_core.errors import FlareError, ModelError
from flare_core.filters import FilterContext, FilterPoint, TensorFilter
from flare_core.model import OPTIMIZER_PARAMS, FLModel, Key, ParamsType, flatten, key_text, unflatten
from flare_core.task import TaskName
from flare_core.tensor_blocks import Array

COMPRESSED = "flare.compressed"
MIN_VALUES = 1024  # smaller tensors, such as biases and batch statistics, are not compressed
_DTYPES = ("float32", "float64")
_RAW = "raw"


class CompressTensors(TensorFilter):
    """Compress tensors of real numbers; integer, boolean and small tensors are unchanged.

    With ``topk``, the values omitted from a difference are added to the site's next one (error feedback), so that none
    is lost for good. ``topk`` rejects whole models, except for the task ``submit_model``, whose reply is sent
    uncompressed. ``optimizer_params``, such as SCAFFOLD's controls, are summed over the rounds and therefore have error
    feedback with every codec.

    Args:
        codec: the name of a codec, as for :func:`~flare_core.compression.codecs.parse_codec`.
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
        is_topk = self._codec.name == "topk"
        if is_topk and context.task == TaskName.SUBMIT_MODEL:
            return model
        if is_topk and model.params_type is not ParamsType.DIFF:
            raise ModelError(
                f"{context.site}: compression {self.codec!r} needs differences; use params_transfer_type='DIFF'"
            )
        compressed = replace(super().process(model, context), meta={**model.meta, COMPRESSED: self._codec.text})
        if context.point is FilterPoint.CLIENT_OUTPUT and (is_topk or OPTIMIZER_PARAMS in model.params):
            # Compress eagerly: state(), which is called next, must include the omitted values of all tensors.
            compressed.params = unflatten(dict(flatten(compressed.params or {})))
        return compressed

    def state(self) -> Mapping[Key, Any]:
        return dict(self._left_out)

    def restore(self, state: Mapping[Key, Any]) -> None:
        self._left_out = dict(state)

    def process_tensor(self, key: Key, array: Any, context: FilterContext) -> Any:
        array = np.asarray(array)
        if array.dtype == np.uint8 and array.ndim == 1:  # looks like a compressed tensor, so wrap it
            return _packed(_RAW, array, array.tobytes())
        if array.dtype.name not in _DTYPES or array.size < MIN_VALUES:
            return array
        if self._codec.is_exact:
            return _packed(self._codec.text, array, self._codec.encode(_bits_of(array)))
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(array, np.float32).reshape(-1)
        if array.dtype == np.float64 and np.isinf(values).any() and np.isfinite(array).all():
            raise ModelError(
                f"{context.site}: '{key_text(key)}' holds values beyond the range of float32, which {self.codec!r}"
                " uses; use compression='zstd', which keeps float64"
            )
        is_fed_back = self._is_fed_back(key, context)
        if is_fed_back and (left := self._left_out.get(key)) is not None:
            values = values + left
        try:
            data = self._codec.encode(values)
        except ModelError as error:
            raise ModelError(f"{context.site}: '{key_text(key)}': {error}") from error
        if is_fed_back:
            self._left_out[key] = values - self._codec.decode(data, values.size)
        return _packed(self._codec.text, array, data)

    def _is_fed_back(self, key: Key, context: FilterContext) -> bool:
        """Return True if a tensor has error feedback."""
        is_summed = not isinstance(key, str) and key[0] == OPTIMIZER_PARAMS
        return context.point is FilterPoint.CLIENT_OUTPUT and (is_summed or self._codec.name == "topk")


class DecompressTensors(TensorFilter):
    """Decompress models from :class:`CompressTensors`; other models are unchanged."""

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
            raise ModelError(f"{context.site}: '{key_text(key)}' is not a compressed tensor: {error}") from error


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
        raise ModelError(f"its header has dtype {header['dtype']!r} and shape {shape}")
    codec, count = parse_codec(header["codec"]), math.prod(shape)
    if codec.is_exact:
        dtype = np.dtype(header["dtype"])
        bits = codec.decode(data[4 + size :], count * dtype.itemsize // 4)
        return np.asarray(bits.view(dtype).reshape(shape))
    values = codec.decode(data[4 + size :], count)
    return np.asarray(values.astype(header["dtype"], copy=False).reshape(shape))


def _bits_of(array: Array) -> Array:
    """Reinterpret the bits of a float32 or float64 array as flat float32."""
    return np.ascontiguousarray(array).reshape(-1).view(np.float32)
