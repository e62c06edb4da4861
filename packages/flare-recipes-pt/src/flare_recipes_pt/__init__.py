"""Recipes for PyTorch models, and helpers for the training scripts at the sites."""

from flare_recipes_pt.fedprox import ProximalLoss
from flare_recipes_pt.recipes import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
    SwarmLearningRecipe,
)
from flare_recipes_pt.scaffold import Scaffold

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ProximalLoss",
    "Scaffold",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
]
