"""``flare migrate``: what scripts and jobs use of NVIDIA FLARE, and the same with Flare's own names."""
