"""Synthetic pictures of ten classes: each has a coarse pattern of its own, with noise, learnt in a few steps."""

import os

import numpy as np


def pictures(shape, seed, part=1.0):
    """Return pictures and their labels.

    The variable SHIM_PICTURES of the environment is the number of pictures, 400 by default.
    """
    count = int(int(os.environ.get("SHIM_PICTURES", "400")) * part)
    coarse = np.random.default_rng(7).integers(0, 2, (10, 4, 4, *shape[2:])) * 255
    patterns = coarse.repeat(shape[0] // 4, axis=1).repeat(shape[1] // 4, axis=2)
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    noise = random.integers(0, 256, (count, *shape))
    return ((3 * patterns[labels] + noise) // 4).astype("uint8"), labels
