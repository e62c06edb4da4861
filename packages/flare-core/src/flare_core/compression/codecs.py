"""Codecs: from an array of real numbers to fewer bytes and back, each with a known error.

    fp16      IEEE half precision; relative error at most 2^-11 for what is not tiny; finite values that are larger than
              ±65504 become that, and infinity stays what it is
    bf16      the upper half of a float32, rounded to the nearest even; relative error at most 2^-8
    int8      blocks of 256 values: one float32 scale, the largest magnitude / 127; error at most half a scale
    int4      blocks of 64 values: one float32 scale, the largest magnitude / 7; error at most half a scale
    topk:0.01 the hundredth of the values that are largest in magnitude, exactly; the others are left out

``+zstd`` after one of them, or ``zstd`` alone, compresses what comes out, without loss.

Blockwise quantization: Dettmers et al. 2022, arXiv:2110.02861, with a linear instead of a dynamic code.
Top-k with error feedback: Stich et al. 2018, arXiv:1809.07599; the feedback is in filters.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flare_core.errors import ModelError, RecipeError

__all__ = ["Codec", "parse_codec"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

INT8_BLOCK, INT4_BLOCK = 256, 64
_FP16_LARGEST = np.float32(65504.0)
_SMALLEST_SCALE = np.finfo(np.float32).tiny
_ZSTD_LEVEL = 1
_LARGEST_EXTRA = (
    1024  # bytes that a codec may need beside eight for each value: scales, and a last block that is not full
)


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write arrays of float32 as bytes.

    Attributes:
        name: ``fp16``, ``bf16``, ``int8``, ``int4``, ``topk`` or ``none``.
        fraction: of the values that ``topk`` keeps.
        zstd: whether the bytes are compressed.
    """

    name: str
    fraction: float = 1.0
    zstd: bool = False

    def encode(self, values: Array) -> bytes:
        """Return the bytes of a flat float32 array.

        Raises:
            ModelError: the values are not finite and the codec cannot write such.
        """
        data = _ENCODERS[self.name](values, self.fraction)
        if self.zstd:
            data = bytes(_zstd().ZstdCompressor(level=_ZSTD_LEVEL).compress(data))
        return data

    def decode(self, data: bytes | memoryview, size: int) -> Array:
        """Return the flat float32 array of ``size`` values that bytes stand for.

        Raises:
            ModelError: they stand for none.
        """
        try:
            if self.zstd:
                data = _decompressed(data, largest=8 * size + _LARGEST_EXTRA)
            values = _DECODERS[self.name](memoryview(data), size, self.fraction)
        except (ValueError, IndexError, _zstd_error()) as error:
            raise ModelError(f"compressed values cannot be read ({self.name}, {size} values): {error}") from error
        if values.size != size:
            raise ModelError(f"compressed values are {values.size}, where {size} were due ({self.name})")
        return values

    @property
    def is_exact(self) -> bool:
        """Whether decoding restores every bit, whatever the dtype of the values."""
        return self.name == "none"

    @property
    def text(self) -> str:
        """The codec as :func:`parse_codec` reads it."""
        name = f"topk:{self.fraction:g}" if self.name == "topk" else self.name
        if not self.zstd:
            return name
        return "zstd" if name == "none" else f"{name}+zstd"


def parse_codec(text: str) -> Codec:
    """Read a codec's name.

    Raises:
        RecipeError: there is none of that name.
    Example:
        >>> parse_codec("int8+zstd")
        Codec(name='int8', fraction=1.0, zstd=True)
    """
    known = "fp16, bf16, int8, int4, topk:<fraction>, zstd, or one of them followed by +zstd"
    first, plus, second = text.partition("+")
    if plus and (second != "zstd" or first == "zstd"):
        raise RecipeError(f"compression is {text!r}; known are {known}")
    zstd = bool(plus) or first == "zstd"
    if zstd:
        _zstd()
    name, colon, fraction = ("none" if first == "zstd" else first).partition(":")
    if name == "topk":
        return Codec("topk", _fraction(fraction, text), zstd)
    if colon or name not in _ENCODERS or (name == "none" and not zstd):
        raise RecipeError(f"compression is {text!r}; known are {known}")
    return Codec(name, zstd=zstd)


def _fraction(text: str, whole: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0.0 < fraction <= 1.0:
        raise RecipeError(f"compression is {whole!r}; topk takes the fraction of values to keep, as in topk:0.01")
    return fraction


def _encode_none(values: Array, fraction: float) -> bytes:
    return values.tobytes()


def _decode_none(data: memoryview, size: int, fraction: float) -> Array:
    return np.frombuffer(data, "<f4").copy()


def _encode_fp16(values: Array, fraction: float) -> bytes:
    with np.errstate(over="ignore"):
        halves: Array = values.astype("<f2")
    infinite = np.isinf(halves)
    if infinite.any():  # finite values beyond the range become the largest number, infinity stays
        halves = np.where(infinite & np.isfinite(values), np.copysign(_FP16_LARGEST, values), halves).astype("<f2")
    return halves.tobytes()


def _decode_fp16(data: memoryview, size: int, fraction: float) -> Array:
    return np.frombuffer(data, "<f2").astype(np.float32)


def _encode_bf16(values: Array, fraction: float) -> bytes:
    bits = values.view("<u4")
    rounded = ((bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)).astype("<u2")
    rounded[np.isnan(values)] = 0x7FC0
    return bytes(rounded.data)


def _decode_bf16(data: memoryview, size: int, fraction: float) -> Array:
    return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode_int8(values: Array, fraction: float) -> bytes:
    scales, scaled = _scaled(values, INT8_BLOCK, 127)
    return scales.astype("<f4").tobytes() + scaled.astype(np.int8).tobytes()


def _decode_int8(data: memoryview, size: int, fraction: float) -> Array:
    blocks = -(-size // INT8_BLOCK)
    scales = np.frombuffer(data[: 4 * blocks], "<f4")
    values = np.frombuffer(data[4 * blocks :], np.int8).reshape(blocks, INT8_BLOCK)
    restored: Array = values * scales[:, None]
    return restored.reshape(-1)[:size]


def _encode_int4(values: Array, fraction: float) -> bytes:
    scales, scaled = _scaled(values, INT4_BLOCK, 7)
    nibbles = (scaled.astype(np.int8) + 8).astype(np.uint8).reshape(-1)
    return scales.astype("<f4").tobytes() + (nibbles[0::2] | (nibbles[1::2] << 4)).tobytes()


def _decode_int4(data: memoryview, size: int, fraction: float) -> Array:
    blocks = -(-size // INT4_BLOCK)
    scales = np.frombuffer(data[: 4 * blocks], "<f4")
    packed = np.frombuffer(data[4 * blocks :], np.uint8)
    values = np.empty(2 * packed.size, np.int8)
    values[0::2] = (packed & 15).astype(np.int8) - 8
    values[1::2] = (packed >> 4).astype(np.int8) - 8
    restored: Array = values.reshape(blocks, INT4_BLOCK) * scales[:, None]
    return restored.reshape(-1)[:size]


def _scaled(values: Array, block: int, largest: int) -> tuple[Array, Array]:
    """Cut values into blocks; return each block's scale, and the values as multiples of it, rounded."""
    blocks = -(-values.size // block)
    padded = values
    if padded.size != blocks * block:
        padded = np.zeros(blocks * block, np.float32)
        padded[: values.size] = values
    padded = padded.reshape(blocks, block)
    scales = np.abs(padded).max(axis=1, initial=0.0) / np.float32(largest)
    if not np.isfinite(scales).all():
        raise ModelError("values that are NaN or infinite cannot be quantized; training diverged")
    scales[(scales > 0) & (scales < _SMALLEST_SCALE)] = _SMALLEST_SCALE  # or multiples of it could overflow
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
        raise ValueError(f"{len(data)} bytes are no list of {count} places and values")
    places = np.frombuffer(data[: count * index_type.itemsize], index_type)
    values = np.zeros(size, np.float32)
    values[places] = np.frombuffer(data[count * index_type.itemsize :], "<f4")
    return values


def _kept(size: int, fraction: float) -> int:
    return max(1, round(fraction * size)) if size else 0


def _decompressed(data: bytes | memoryview, largest: int) -> bytes:
    zstandard = _zstd()
    size = zstandard.get_frame_parameters(data).content_size
    if size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR) and size > largest:
        raise ValueError(f"they would become {size} bytes, more than {largest}")  # before memory is taken for them
    return bytes(zstandard.ZstdDecompressor().decompress(data, max_output_size=largest, allow_extra_data=False))


def _zstd() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise RecipeError("compression with zstd needs zstandard; pip install 'flare-core[zstd]'") from error
    return zstandard


def _zstd_error() -> type[Exception]:
    try:
        import zstandard
    except ImportError:
        return ValueError
    error: type[Exception] = zstandard.ZstdError
    return error


_ENCODERS: dict[str, Callable[[Array, float], bytes]] = {
    "none": _encode_none,
    "fp16": _encode_fp16,
    "bf16": _encode_bf16,
    "int8": _encode_int8,
    "int4": _encode_int4,
    "topk": _encode_topk,
}
_DECODERS: dict[str, Callable[[memoryview, int, float], Array]] = {
    "none": _decode_none,
    "fp16": _decode_fp16,
    "bf16": _decode_bf16,
    "int8": _decode_int8,
    "int4": _decode_int4,
    "topk": _decode_topk,
}
