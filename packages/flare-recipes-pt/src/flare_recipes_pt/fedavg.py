"""Federated averaging of PyTorch models."""

from __future__ import annotations

from flare_core.recipes import BaseFedAvgRecipe
from flare_recipes_pt.model import TorchModel

__all__ = ["FedAvgRecipe"]


class FedAvgRecipe(TorchModel, BaseFedAvgRecipe):
    """Federated averaging of a PyTorch model."""
