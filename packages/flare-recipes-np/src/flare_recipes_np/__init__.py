"""Recipes for models that are numpy arrays."""

from flare_recipes_np.fedavg import FedAvgRecipe
from flare_recipes_np.persistor import NumpyPersistor

__all__ = ["FedAvgRecipe", "NumpyPersistor"]
