"""Measures of models."""

from __future__ import annotations

from typing import Any

import torch


def compute_loss_over_dataset(model: Any = None, loss: Any = None, dataloader: Any = None, device: Any = None) -> float:
    """Return the mean loss of a model over all examples.

    Raises:
        ValueError: an argument is missing.
    """
    if model is None or loss is None or dataloader is None:
        raise ValueError("give a model, a loss and a dataloader")
    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for batch, labels in dataloader:
            value = loss(model(batch.to(device)), labels.to(device))
            total, count = total + value.item() * len(batch), count + len(batch)
    return total / count
