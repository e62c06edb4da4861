"""Codecs that encode arrays of real numbers in fewer bytes, each with a known error bound.

    fp16      IEEE half precision; relative error at most 2^-11 for normal numbers; finite values beyond ±65504 are
              clipped, infinity is preserved
    bf16      the upper half of a float32, rounded to nearest even; relative error at most 2^-8
    int8      blocks of 256 values with one float32 scale, the largest magnitude / 127; error at most half a scale
    int4      blocks of 64 values with one float32 scale, the largest magnitude / 7; error at most half a scale
    topk:0.01 the 1 % of the values with the largest magnitudes, exactly; the others are omitted

``+zstd`` after one of them, or ``zstd`` alone, adds lossless compression.

Blockwise quantization: Dettmers et al. 2022, arXiv:2110.02861, with a linear instead of a dynamic code.
Top-k with error feedback: Stich et al. 2018, arXiv:1809.07599; the feedback is in filters.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flare_core.errors import ModelError, RecipeError
from flare_core.tensor_blocks import Array

INT8_BLOCK, INT4_BLOCK = 256, 64
_FP16_LARGEST = np.float32(65504.0)
_SMALLEST_SCALE = np.finfo(np.float32).tiny
_ZSTD_LEVEL = 1
_MAX_OVERHEAD = 1024  # bytes beyond eight per value that an encoding may take, for scales and a padded last block


@dataclass(frozen=True, slots=True)
class Codec:
    """An encoding of float32 arrays as bytes.

    Attributes:
        name: ``fp16``, ``bf16``, ``int8``, ``int4``, ``topk`` or ``none``.
        fraction: the fraction of the values that ``topk`` keeps.
        zstd: compress the bytes.
    """

    name: str
    fraction: float = 1.0
    zstd: bool = False

    def encode(self, values: Array) -> bytes:
        """Encode a flat float32 array.

        Raises:
            ModelError: the values are not finite, and the codec cannot represent that.
        """
        data = _ENCODERS[self.name](values, self.fraction)
        if self.zstd:
            data = bytes(_zstd().ZstdCompressor(level=_ZSTD_LEVEL).compress(data))
        return data

    def decode(self, data: bytes | memoryview, size: int) -> Array:
        """Decode a flat float32 array of ``size`` values.

        Raises:
            ModelError: the bytes are malformed.
        """
        try:
            if self.zstd:
                data = _decompressed(data, largest=8 * size + _MAX_OVERHEAD)
            values = _DECODERS[self.name](memoryview(data), size, self.fraction)
        except (ValueError, IndexError) as error:
            raise ModelError(f"compressed values cannot be read ({self.name}, {size} values): {error}") from error
        if values.size != size:
            raise ModelError(f"there are {values.size} compressed values instead of {size} ({self.name})")
        return values

    @property
    def is_exact(self) -> bool:
        """True if decoding restores every bit."""
        return self.name == "none"

    @property
    def text(self) -> str:
        """The name of the codec, as read by :func:`parse_codec`."""
        name = f"topk:{self.fraction:g}" if self.name == "topk" else self.name
        if not self.zstd:
            return name
        return "zstd" if name == "none" else f"{name}+zstd"


def parse_codec(text: str) -> Codec:
    """Return the codec of a name.

    Raises:
        RecipeError: there is no such codec.
    Example:
        >>> parse_codec("int8+zstd")
        Codec(name='int8', fraction=1.0, zstd=True)
    """
    first, plus, second = text.partition("+")
    zstd = bool(plus) or first == "zstd"
    name, colon, fraction = ("none" if first == "zstd" else first).partition(":")
    is_known = name == "topk" or (name in _ENCODERS and not colon and (zstd or name != "none"))
    if not is_known or (plus and (second != "zstd" or first == "zstd")):
        known = "fp16, bf16, int8, int4, topk:<fraction>, zstd, or one of them followed by +zstd"
        raise RecipeError(f"compression is {text!r}; known codecs are {known}")
    if zstd:
        _zstd()
    return Codec(name, _fraction(fraction, text) if name == "topk" else 1.0, zstd)


def _fraction(text: str, whole: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0.0 < fraction <= 1.0:
        raise RecipeError(f"compression is {whole!r}; topk takes the fraction of values to keep, as in topk:0.01")
    return fraction


def _encode_fp16(values: Array, fraction: float) -> bytes:
    with np.errstate(over="ignore"):
        halves: Array = values.astype("<f2")
    infinite = np.isinf(halves)
    if infinite.any():  # clip finite values beyond the range, keep infinity
        halves = np.where(infinite & np.isfinite(values), np.copysign(_FP16_LARGEST, values), halves).astype("<f2")
    return halves.tobytes()


def _encode_bf16(values: Array, fraction: float) -> bytes:
    bits = values.view("<u4")
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype("<u2")
    rounded[np.isnan(values)] = 0x7FC0
    return bytes(rounded.data)


def _encode_int8(values: Array, fraction: float) -> bytes:
    scales, scaled = _scaled(values, INT8_BLOCK, 127)
    return scales.astype("<f4").tobytes() + scaled.astype(np.int8).tobytes()


def _decode_int8(data: memoryview, size: int, fraction: float) -> Array:
    end = 4 * -(-size // INT8_BLOCK)
    return _unscaled(np.frombuffer(data[:end], "<f4"), np.frombuffer(data[end:], np.int8), INT8_BLOCK)[:size]


def _encode_int4(values: Array, fraction: float) -> bytes:
    scales, scaled = _scaled(values, INT4_BLOCK, 7)
    nibbles = (scaled.astype(np.int8) + 8).astype(np.uint8).reshape(-1)
    return scales.astype("<f4").tobytes() + (nibbles[0::2] | (nibbles[1::2] << 4)).tobytes()


def _decode_int4(data: memoryview, size: int, fraction: float) -> Array:
    end = 4 * -(-size // INT4_BLOCK)
    packed = np.frombuffer(data[end:], np.uint8)
    values = np.empty(2 * packed.size, np.int8)
    values[0::2] = (packed & 15).astype(np.int8) - 8
    values[1::2] = (packed >> 4).astype(np.int8) - 8
    return _unscaled(np.frombuffer(data[:end], "<f4"), values, INT4_BLOCK)[:size]


def _unscaled(scales: Array, values: Array, block: int) -> Array:
    restored: Array = values.reshape(scales.size, block) * scales[:, None]
    return restored.reshape(-1)


def _scaled(values: Array, block: int, largest: int) -> tuple[Array, Array]:
    """Split values into blocks; return the scale of each block, and the values as rounded multiples of it."""
    blocks = -(-values.size // block)
    padded = values
    if padded.size != blocks * block:
        padded = np.zeros(blocks * block, np.float32)
        padded[: values.size] = values
    padded = padded.reshape(blocks, block)
    scales = np.abs(padded).max(axis=1, initial=0.0) / np.float32(largest)
    if not np.isfinite(scales).all():
        raise ModelError("NaN and infinity cannot be quantized; the training diverged")
    scales[(scales > 0) & (scales < _SMALLEST_SCALE)] = _SMALLEST_SCALE  # a subnormal divisor could overflow
    divisor = np.where(scales > 0, scales, np.float32(1))
    return scales, np.rint(padded / divisor[:, None])


def _encode_topk(values: Array, fraction: float) -> bytes:
    count = _kept(values.size, fraction)
    if count < values.size:
        chosen = np.sort(np.argpartition(np.abs(values), values.size - count)[values.size - count :])
    else:
        chosen = np.arange(values.size)
    index_type = "<u4" if values.size <= 1 << 32 else "<u8"
    return chosen.astype(index_type).tobytes() + values[chosen].astype("<f4").tobytes()


def _decode_topk(data: memoryview, size: int, fraction: float) -> Array:
    index_type = np.dtype("<u4" if size <= 1 << 32 else "<u8")
    count = _kept(size, fraction)
    if len(data) != count * (index_type.itemsize + 4):
        raise ValueError(f"{len(data)} bytes do not hold {count} indices and values")
    indices = np.frombuffer(data[: count * index_type.itemsize], index_type)
    values = np.zeros(size, np.float32)
    values[indices] = np.frombuffer(data[count * index_type.itemsize :], "<f4")
    return values


def _kept(size: int, fraction: float) -> int:
    return max(1, round(fraction * size)) if size else 0


def _decompressed(data: bytes | memoryview, largest: int) -> bytes:
    zstandard = _zstd()
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) and size > largest:
            raise ValueError(f"they would decompress to {size} bytes, more than {largest}")  # before allocating them
        return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=largest, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise RecipeError("compression with zstd needs zstandard; pip install 'flare-core[zstd]'") from error
    return zstandard


_ENCODERS: dict[str, Callable[[Array, float], bytes]] = {
    "none": lambda values, _: values.tobytes(),
    "fp16": _encode_fp16,
    "bf16": _encode_bf16,
    "int8": _encode_int8,
    "int4": _encode_int4,
    "topk": _encode_topk,
}
_DECODERS: dict[str, Callable[[memoryview, int, float], Array]] = {
    "none": lambda data, size, _: np.frombuffer(data, "<f4").copy(),
    "fp16": lambda data, size, _: np.frombuffer(data, "<f2").astype(np.float32),
    "bf16": lambda data, size, _: (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32),
    "int8": _decode_int8,
    "int4": _decode_int4,
    "topk": _decode_topk,
}
