"""Handwritten digits on 40 devices, each of which has 36 of them, mostly of a few of the ten digits."""

import numpy as np
from sklearn.datasets import load_digits

from flare_edge.device.data import Examples, from_arrays

DEVICES = 40


def load() -> tuple[list[Examples], Examples]:
    """Return the examples of each device, and 360 digits that no device has seen."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order] / 16, labels[order]
    test = from_arrays(images[:360], labels[:360])
    images, labels = images[360:], labels[360:]
    by_label = np.argsort(labels + np.random.default_rng(1).normal(0, 3, len(labels)), kind="stable")
    return [from_arrays(images[rows], labels[rows]) for rows in np.array_split(by_label, DEVICES)], test
