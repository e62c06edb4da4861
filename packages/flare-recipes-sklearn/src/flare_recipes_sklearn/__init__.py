"""Recipes for scikit-learn models."""

from flare_recipes_sklearn.kmeans import KMeansFedAvgRecipe, kmeans_step
from flare_recipes_sklearn.newton import FedAvgLrRecipe, logistic_probabilities, newton_sums
from flare_recipes_sklearn.persistor import SklearnPersistor

__all__ = [
    "FedAvgLrRecipe",
    "KMeansFedAvgRecipe",
    "SklearnPersistor",
    "kmeans_step",
    "logistic_probabilities",
    "newton_sums",
]
