"""Handwritten digits on ten devices."""

import numpy as np
from sklearn.datasets import load_digits

from flare_edge.device.data import Examples, from_arrays

DEVICES = 10


def load() -> tuple[list[Examples], Examples]:
    """Return the examples of each device, and 360 digits that no device has seen."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16, labels[order]
    parts = np.array_split(np.arange(360, len(labels)), DEVICES)
    return [from_arrays(images[rows], labels[rows]) for rows in parts], from_arrays(images[:360], labels[:360])
