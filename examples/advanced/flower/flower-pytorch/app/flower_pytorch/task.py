"""A small network, and the digits of one site."""

import torch
from sklearn.datasets import load_digits
from torch import nn

HELD_OUT = 360


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def load_data(partition: int, partitions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels of one site."""
    images, labels = digits()
    return images[:-HELD_OUT][partition::partitions], labels[:-HELD_OUT][partition::partitions]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)


def train(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, rate: float) -> float:
    """Train with batches in a fixed order; return the mean loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    losses = []
    for _ in range(epochs):
        for batch in torch.arange(len(labels)).split(32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    return (net(images).argmax(dim=1) == labels).float().mean().item()
