"""Recipes for PyTorch models."""

from flare_recipes_pt.fedavg import FedAvgRecipe
from flare_recipes_pt.persistor import TorchPersistor

__all__ = ["FedAvgRecipe", "TorchPersistor"]
