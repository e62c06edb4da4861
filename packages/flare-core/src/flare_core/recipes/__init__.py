"""Bases of recipes, shared by the frameworks' packages."""

from flare_core.recipes.fedavg import BaseFedAvgRecipe

__all__ = ["BaseFedAvgRecipe"]
