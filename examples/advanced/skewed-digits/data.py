"""scikit-learn's digits, split so unevenly that most sites see only a few of the ten digits."""

import numpy as np
import torch
from sklearn.datasets import load_digits

SITES = 10
TEST = 360


def load_all():
    """Return all 1,797 images as rows of 64 numbers from 0 to 1, and their digits, in a fixed random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(labels[order])


def load_test():
    """Return the 360 images that no site trains on."""
    images, labels = load_all()
    return images[:TEST], labels[:TEST]


def load_sites(concentration=0.1):
    """Return the images of each site; the sites' shares of a digit follow a Dirichlet distribution."""
    images, labels = load_all()
    images, labels = images[TEST:], labels[TEST:]
    generator = np.random.default_rng(1)
    owner = np.empty(len(labels), dtype=int)
    for digit in range(10):
        members = (labels == digit).numpy()
        owner[members] = generator.choice(SITES, size=members.sum(), p=generator.dirichlet([concentration] * SITES))
    mine = [torch.from_numpy(owner == site) for site in range(SITES)]
    return [(images[rows], labels[rows]) for rows in mine]
