"""Recipes for PyTorch models."""

from flare_recipes_pt.optimizer import TorchOptimizer
from flare_recipes_pt.persistor import TorchPersistor
from flare_recipes_pt.recipes import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
)

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ScaffoldRecipe",
    "TorchOptimizer",
    "TorchPersistor",
]
