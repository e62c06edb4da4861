"""The transforms that examples use."""

import numpy as np
import torch


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, picture):
        for each in self.transforms:
            picture = each(picture)
        return picture


class ToTensor:
    def __call__(self, picture):
        array = np.asarray(picture, np.float32) / 255
        return torch.from_numpy(np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1)))


class ToPILImage:
    def __call__(self, picture):
        return picture


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = (torch.tensor(each, dtype=torch.float32).view(-1, 1, 1) for each in (mean, std))

    def __call__(self, picture):
        return (picture - self.mean) / self.std


class _Unchanged:
    """Leaves a picture as it is: augmentation is of no interest here."""

    def __init__(self, *arguments, **named):
        pass

    def __call__(self, picture):
        return picture


Lambda = Pad = RandomCrop = RandomHorizontalFlip = Resize = _Unchanged


def __getattr__(name):
    """Return a placeholder for names that other packages import and never use here."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
