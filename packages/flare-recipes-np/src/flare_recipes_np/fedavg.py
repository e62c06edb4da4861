"""Federated averaging of numpy arrays."""

from __future__ import annotations

from flare_core.recipes import BaseFedAvgRecipe
from flare_recipes_np.model import NumpyModel

__all__ = ["FedAvgRecipe"]


class FedAvgRecipe(NumpyModel, BaseFedAvgRecipe):
    """Federated averaging of a NumPy model."""
