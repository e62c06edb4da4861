"""Recipes for Keras models on TensorFlow, and helpers for their training scripts."""

from flare_recipes_tf.backend import BackendError
from flare_recipes_tf.fedprox import ProximalLoss
from flare_recipes_tf.params import get_params, set_params
from flare_recipes_tf.recipes import (
    CrossSiteEvalRecipe,
    CyclicRecipe,
    FedAvgRecipe,
    FedEvalRecipe,
    FedOptRecipe,
    ScaffoldRecipe,
    SwarmLearningRecipe,
)
from flare_recipes_tf.scaffold import Scaffold

__all__ = [
    "BackendError",
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ProximalLoss",
    "Scaffold",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
    "get_params",
    "set_params",
]
