"""Recipes of trees; importing them does not load the engine."""

from flare_xgb.recipes.bagging import XGBBaggingRecipe

__all__ = ["XGBBaggingRecipe"]
