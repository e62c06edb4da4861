"""Federated averaging of Keras models."""

from __future__ import annotations

from flare_core.recipes import BaseFedAvgRecipe
from flare_recipes_tf.model import KerasModel

__all__ = ["FedAvgRecipe"]


class FedAvgRecipe(KerasModel, BaseFedAvgRecipe):
    """Federated averaging of a Keras model."""
