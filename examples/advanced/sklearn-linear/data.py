"""Handwritten digits at three sites: the first has only zeros, the others share the rest."""

import numpy as np
from sklearn.datasets import load_digits

SITES = 3
CLASSES = range(10)
FEATURES = 64


def load_digits_of(part):
    """Return 8 x 8 images scaled to 0 to 1, and their digits: every fifth for ``test``, the others for ``training``."""
    rows, labels = load_digits(return_X_y=True)
    for_test = np.arange(len(rows)) % 5 == 4
    chosen = for_test if part == "test" else ~for_test
    return rows[chosen] / 16, labels[chosen]


def load_site(name):
    """Return the training data of ``site-1`` to ``site-3``."""
    number = int(name.removeprefix("site-"))
    rows, labels = load_digits_of("training")
    owner = np.where(labels == 0, 1, 2 + np.arange(len(rows)) % 2)
    return rows[owner == number], labels[owner == number]
