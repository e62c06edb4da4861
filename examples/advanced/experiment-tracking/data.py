"""scikit-learn's 569 biopsies with 30 measurements each, split among three hospitals."""

import numpy as np
from sklearn.datasets import load_breast_cancer

SITES = 3


def load_site(name):
    """Return scaled measurements and labels (1 for benign) of ``site-1`` to ``site-3``: training data, test data."""
    x, benign = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))[int(name.removeprefix("site-")) - 1 :: SITES]
    x, benign = x[rows], benign[rows]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    held_out = len(x) // 5
    return (x[held_out:], benign[held_out:]), (x[:held_out], benign[:held_out])
