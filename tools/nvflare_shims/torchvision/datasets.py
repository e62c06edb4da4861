"""Data sets of synthetic pictures."""

from pathlib import Path

import torch
from pictures import pictures


class _Pictures(torch.utils.data.Dataset):
    shape = (32, 32, 3)

    def __init__(self, root=".", train=True, download=False, transform=None, target_transform=None):
        if download:
            Path(root).mkdir(parents=True, exist_ok=True)
        self.data, labels = pictures(self.shape, 1) if train else pictures(self.shape, 2, 0.25)
        self.targets = labels.tolist()
        self.classes = [str(each) for each in range(10)]
        self.transform = transform
        self.target_transform = target_transform

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        picture, target = self.data[index], self.targets[index]
        picture = picture if self.transform is None else self.transform(picture)
        return picture, target if self.target_transform is None else self.target_transform(target)


class CIFAR10(_Pictures):
    """Pictures of 32 x 32 pixels in three colours."""


class MNIST(_Pictures):
    """Pictures of 28 x 28 grey pixels, which torchvision has as tensors."""

    shape = (28, 28)

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.targets = torch.tensor(self.targets)

    def __getitem__(self, index):
        picture, target = super().__getitem__(index)
        return picture, int(target)


def __getattr__(name):
    """Return a placeholder for names that other packages import and never use here."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
