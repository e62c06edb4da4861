"""Recipes without a framework, to which each framework's package adds how it reads an initial model; and what recipes
can be given besides their arguments."""

from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.recipes.script import ScriptRecipe
from flare_core.recipes.tracking import add_experiment_tracking

__all__ = ["BaseFedAvgRecipe", "ScriptRecipe", "add_experiment_tracking"]
