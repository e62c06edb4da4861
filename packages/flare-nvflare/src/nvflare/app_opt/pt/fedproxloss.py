"""PTFedProxLoss, the proximal term of FedProx."""

from __future__ import annotations

import torch

from flare_core import RecipeError


class PTFedProxLoss(torch.nn.Module):
    """Half of ``mu`` times the squared distance of a model's parameters to those of another.

    Args:
        mu: at least 0.
    Raises:
        RecipeError: it is below 0.

    Source: Li et al. 2020, arXiv:1812.06127, equation 2.
    """

    def __init__(self, mu: float = 0.01) -> None:
        super().__init__()
        if mu < 0:
            raise RecipeError(f"mu is {mu!r}; give a number of at least 0")
        self.mu = mu

    def forward(self, input: torch.nn.Module, target: torch.nn.Module) -> torch.Tensor:
        """Return the term for the model being trained, and the one that was received."""
        pairs = zip(input.parameters(), target.parameters(), strict=True)
        return torch.stack([(own - other).square().sum() for own, other in pairs]).sum() * (self.mu / 2)
