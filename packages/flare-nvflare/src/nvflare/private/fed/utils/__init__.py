"""GPUs by site, an internal of NVIDIA FLARE that examples use."""
