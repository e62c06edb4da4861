"""Recipes without a framework: each framework's package adds how it reads an initial model."""

from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.recipes.script import ScriptRecipe

__all__ = ["BaseFedAvgRecipe", "ScriptRecipe"]
