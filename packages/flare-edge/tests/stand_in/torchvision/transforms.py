"""The one transformation that is needed."""

import torch


class ToTensor:
    def __call__(self, value):
        return torch.tensor(value, dtype=torch.float32)
