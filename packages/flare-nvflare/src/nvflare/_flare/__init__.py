"""The part of this package that has no counterpart in NVIDIA FLARE: what the adapters share."""
