"""Recipes for scikit-learn models."""

from flare_recipes_sklearn.kmeans import KMeansFedAvgRecipe, kmeans_step
from flare_recipes_sklearn.linear import FedAvgRecipe, get_params, set_params
from flare_recipes_sklearn.newton import FedAvgLrRecipe, logistic_probabilities, newton_sums
from flare_recipes_sklearn.svm import SVMFedAvgRecipe, svm_of, svm_step

__all__ = [
    "FedAvgLrRecipe",
    "FedAvgRecipe",
    "KMeansFedAvgRecipe",
    "SVMFedAvgRecipe",
    "get_params",
    "kmeans_step",
    "logistic_probabilities",
    "newton_sums",
    "set_params",
    "svm_of",
    "svm_step",
]
