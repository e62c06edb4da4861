"""scikit-learn's digits, split unevenly: each site sees mostly a few of the ten digits, and sites differ in size."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


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
    """Return the training data of a site, such as ``site-1``, and a fifth of its images for validation."""
    images, labels = load_all()
    images, labels = images[360:], labels[360:]
    generator = np.random.default_rng(1)
    owner = np.empty(len(labels), dtype=int)
    for digit in range(10):
        share = generator.dirichlet([0.3] * sites)  # each site's share of a digit's images
        members = (labels == digit).numpy()
        owner[members] = generator.choice(sites, size=members.sum(), p=share)
    mine = torch.from_numpy(owner == int(name.removeprefix("site-")) - 1)
    images, labels = images[mine], labels[mine]
    held_out = len(labels) // 5
    training = TensorDataset(images[held_out:], labels[held_out:])
    validation = TensorDataset(images[:held_out], labels[:held_out])
    return DataLoader(training, batch_size=32, shuffle=True), DataLoader(validation, batch_size=len(validation))
