"""Recipes for scikit-learn models."""

from flare_recipes_sklearn.kmeans import KMeansFedAvgRecipe, kmeans_step
from flare_recipes_sklearn.persistor import SklearnPersistor

__all__ = ["KMeansFedAvgRecipe", "SklearnPersistor", "kmeans_step"]
