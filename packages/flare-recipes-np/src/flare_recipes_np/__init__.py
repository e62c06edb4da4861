"""Recipes for models made of NumPy arrays."""

from flare_recipes_np.recipes import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
    SwarmLearningRecipe,
)

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
]
