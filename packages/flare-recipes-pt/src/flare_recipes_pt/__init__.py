"""Recipes for PyTorch models, and what their scripts use at the sites."""

from flare_recipes_pt.fedavg import FedAvgRecipe
from flare_recipes_pt.fedprox import ProximalLoss
from flare_recipes_pt.persistor import TorchPersistor
from flare_recipes_pt.scaffold import Scaffold

__all__ = ["FedAvgRecipe", "ProximalLoss", "Scaffold", "TorchPersistor"]
