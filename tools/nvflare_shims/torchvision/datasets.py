"""Data sets of synthetic pictures: each class has a pattern of its own, with noise."""

import os
from pathlib import Path

import numpy as np
import torch


class _Pictures(torch.utils.data.Dataset):
    shape = (32, 32, 3)

    def __init__(self, root=".", train=True, download=False, transform=None, target_transform=None):
        if download:
            Path(root).mkdir(parents=True, exist_ok=True)
        count = int(os.environ.get("SHIM_PICTURES", "400"))
        random = np.random.default_rng(7)
        patterns = random.integers(0, 256, (10, *self.shape))
        own = np.random.default_rng(1 if train else 2)
        self.targets = own.integers(0, 10, count if train else count // 4).tolist()
        noise = own.integers(0, 256, (len(self.targets), *self.shape))
        self.data = ((patterns[self.targets] + noise) // 2).astype(np.uint8)
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
    """Pictures of 28 x 28 grey pixels."""

    shape = (28, 28)
