"""Recipes of trees; importing them does not load the engine."""

from flare_xgb.recipes.bagging import XGBBaggingRecipe
from flare_xgb.recipes.horizontal import XGBHorizontalRecipe
from flare_xgb.recipes.vertical import XGBVerticalRecipe

__all__ = ["XGBBaggingRecipe", "XGBHorizontalRecipe", "XGBVerticalRecipe"]
