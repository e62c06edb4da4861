"""DeviceModel, a classifier as devices train it."""

from __future__ import annotations

from torch import Tensor, nn


class DeviceModel(nn.Module):
    """A module with its loss: from inputs and labels to the loss and the predicted classes.

    Args:
        net: the module.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.loss = nn.CrossEntropyLoss()

    def forward(self, input: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the predicted classes."""
        scores = self.net(input)
        return self.loss(scores, label), scores.detach().argmax(dim=1)
