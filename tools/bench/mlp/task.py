"""The work of every system: 10 rounds of a 64-128-10 network on scikit-learn's digits.

A client holds 100 of the training images, drawn with its number as the seed. As in the FedAvg paper (McMahan et al.
2017, arXiv:1602.05629, table 2), it trains 5 epochs per round in batches of 10.
"""

import os

import numpy as np
import torch

ROUNDS = 10
IMAGES = 100
EPOCHS = 5
BATCH = 10
TEST = 360

torch.set_num_threads(1)  # operations this small are slower on several threads


def make_net():
    return torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))


def first_net():
    torch.manual_seed(0)
    return make_net()


def load(rows):
    """Return some of the digits from the file in the folder ``BENCH_DATA``: columns of pixels, then labels."""
    digits = np.load(os.path.join(os.environ["BENCH_DATA"], "digits.npy"), mmap_mode="r")[rows]
    return torch.from_numpy(digits[:, :-1] / np.float32(16)), torch.from_numpy(digits[:, -1].astype(np.int64))


def load_client(number):
    return load(TEST + np.random.default_rng(number).choice(1797 - TEST, IMAGES, replace=False))


def train(net, own_images, own_labels, number, current_round):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = np.random.default_rng((number, current_round))
    for _ in range(EPOCHS):
        for rows in torch.from_numpy(generator.permutation(IMAGES)).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(own_images[rows]), own_labels[rows]).backward()
            optimizer.step()


@torch.no_grad()
def accuracy(net):
    images, labels = load(np.arange(TEST))
    return (net(images).argmax(dim=1) == labels).float().mean().item()
