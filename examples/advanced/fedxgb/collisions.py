"""Rows made up in the manner of the HIGGS data set, as many as wanted: 28 features, 7 of them made of the others."""

import numpy as np

from flare_xgb import DataLoader, Table

NAMES = [f"measured_{at}" for at in range(21)] + [f"derived_{at}" for at in range(7)]


class Collisions(DataLoader):
    """Rows of one site, which differ from those of the others.

    Args:
        rows: the number of rows to train on.
    """

    def __init__(self, rows):
        self.rows = rows

    def load_data(self):
        return make(self.rows, seed=self.rank), None


def make(rows, seed):
    """Return rows of which about half are signal."""
    generator = np.random.default_rng(seed)
    measured = generator.gamma(3.0, 1 / 3, (rows, 21)).astype(np.float32)
    measured[:, 1::3] = generator.normal(size=(rows, 7))  # angles
    pairs = measured[:, 0::3] * np.roll(measured[:, 0::3], 1, axis=1)
    derived = np.sqrt(pairs * (np.cosh(measured[:, 1::3] - np.roll(measured[:, 1::3], 1, axis=1)) - 1))
    score = np.log1p(derived[:, 0]) + np.abs(derived[:, 2] - derived[:, 3]) - 0.5 * derived[:, 5]
    label = score + generator.logistic(scale=0.4, size=rows) > 0.55
    return Table.of(np.hstack([measured, derived]), label, names=NAMES)
