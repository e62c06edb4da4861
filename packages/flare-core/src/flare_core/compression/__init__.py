"""Smaller models on the wire: half precision, blockwise quantization, top-k with error feedback, zstd."""

from flare_core.compression.codecs import Codec, parse_codec
from flare_core.compression.filters import CompressTensors, DecompressTensors

__all__ = ["Codec", "CompressTensors", "DecompressTensors", "parse_codec"]
