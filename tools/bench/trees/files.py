"""Rows of two classes, made up once and read by every system."""

import sys
from pathlib import Path

import numpy as np

FEATURES = 28
SITES = 2
HELD_OUT = 50_000
"""The rows that models are judged by."""


def read(folder, what, rows=slice(None), columns=slice(None)):
    """Return features and labels of some rows, as copies, so that they count as memory of the process."""
    features = np.load(Path(folder, f"{what}-features.npy"), mmap_mode="r")[rows, columns]
    return np.array(features, order="C"), np.load(Path(folder, f"{what}-label.npy"), mmap_mode="r")[rows].copy()


def make(folder, what, count, seed):
    """Write rows whose label depends on sums, products and steps of a third of the features, and on chance."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, FEATURES)).astype(np.float32)
    one, other, third = (features[:, start : start + 3] for start in (0, 3, 6))
    score = one.sum(axis=1) + (one * other).sum(axis=1) + 2 * (third > 0.5).sum(axis=1) - 1.85
    label = score + generator.logistic(size=count) > 0
    np.save(Path(folder, f"{what}-features.npy"), features)
    np.save(Path(folder, f"{what}-label.npy"), label.astype(np.float32))


if __name__ == "__main__":
    for number, size in enumerate(map(int, sys.argv[2:])):
        make(sys.argv[1], size, size, number)
    make(sys.argv[1], "held-out", HELD_OUT, 1000)
