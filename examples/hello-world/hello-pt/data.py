"""scikit-learn's digits, split unevenly: each site sees mostly a few of the ten digits, and sites differ in size."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def load_all():
    """Return all 1,797 images as rows of 64 numbers from 0 to 1, and their digits, in a fixed random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(labels[order])


def load_test():
    """Return the 360 images that no site trains on."""
    images, labels = load_all()
    return images[:360], labels[:360]


def load_site(name, sites):
    """Return the images of one site, such as ``site-1``, of this number of sites."""
    images, labels = load_all()
    images, labels = images[360:], labels[360:]
    generator = np.random.default_rng(1)
    owner = np.empty(len(labels), dtype=int)
    for digit in range(10):
        share = generator.dirichlet([0.3] * sites)  # each site's share of a digit's images
        members = (labels == digit).numpy()
        owner[members] = generator.choice(sites, size=members.sum(), p=share)
    mine = torch.from_numpy(owner == int(name.removeprefix("site-")) - 1)
    return images[mine], labels[mine]
