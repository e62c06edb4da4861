"""Smaller models on the wire: half precision, blockwise quantization, top-k with error feedback, zstd."""
