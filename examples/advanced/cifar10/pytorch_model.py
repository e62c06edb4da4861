"""The network in PyTorch, with training and evaluation outside the federation."""

import torch
from data import batches, scaled
from torch import nn

from flare_recipes_pt import FedAvgRecipe, FedOptRecipe, ScaffoldRecipe

RECIPES = {"fedavg": FedAvgRecipe, "fedprox": FedAvgRecipe, "fedopt": FedOptRecipe, "scaffold": ScaffoldRecipe}


class Net(nn.Sequential):
    """Three convolutions that each halve the image's sides; 34,826 parameters."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 16, kernel_size=5, stride=2, padding=2),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=3, stride=2, padding=1),
            nn.GroupNorm(4, 64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 10),
        )


def tensor(images):
    """Convert an array of image × row × column × colour to a tensor of image × colour × row × column."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def make_model(seed):
    torch.manual_seed(seed)
    return Net()


def put_params(net, params):
    net.load_state_dict(params)


@torch.no_grad()
def accuracy(net, images, labels):
    right = 0
    for start in range(0, len(labels), 500):  # in parts, to limit memory
        scores = net(tensor(scaled(images[start : start + 500])))
        right += (scores.argmax(dim=1).numpy() == labels[start : start + 500]).sum()
    return right / len(labels)


def train(net, images, labels, steps, lr, seed):
    """Train without federation."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for x, y in batches(images, labels, steps, seed):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(tensor(x)), torch.from_numpy(y)).backward()
        optimizer.step()
