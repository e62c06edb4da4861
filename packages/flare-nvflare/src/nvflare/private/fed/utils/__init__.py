"""What examples use of the internals of NVIDIA FLARE."""
