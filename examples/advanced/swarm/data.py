"""scikit-learn's digits, dealt unevenly: each site sees mostly a few of the ten digits, and has its own amount."""

import numpy as np
import torch
from sklearn.datasets import load_digits


def load_all():
    """All 1,797 images as rows of 64 numbers from 0 to 1, and their digits, in a fixed random order."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.tensor(images[order] / 16, dtype=torch.float32), torch.tensor(labels[order])


def load_test():
    """360 images that no site trains on."""
    images, labels = load_all()
    return images[:360], labels[:360]


def load_site(name, sites):
    """The images of ``site-1``, ``site-2``, …, if so many sites share them."""
    images, labels = load_all()
    images, labels = images[360:], labels[360:]
    generator = np.random.default_rng(1)
    owner = np.empty(len(labels), dtype=int)
    for digit in range(10):
        share = generator.dirichlet([0.3] * sites)  # how a digit's images are dealt to the sites
        members = (labels == digit).numpy()
        owner[members] = generator.choice(sites, size=members.sum(), p=share)
    mine = torch.from_numpy(owner == int(name.removeprefix("site-")) - 1)
    return images[mine], labels[mine]
