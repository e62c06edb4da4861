"""One recipe class for each algorithm, for NumPy models."""

from __future__ import annotations

from flare_core.recipes import (
    BaseCrossSiteEvalRecipe,
    BaseCyclicRecipe,
    BaseFedAvgRecipe,
    BaseFedEvalRecipe,
    BaseFedOptRecipe,
    BaseScaffoldRecipe,
    BaseSwarmLearningRecipe,
)
from flare_recipes_np.model import NumpyModel

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
]


class FedAvgRecipe(NumpyModel, BaseFedAvgRecipe):
    """Federated averaging of a NumPy model."""


class FedOptRecipe(NumpyModel, BaseFedOptRecipe):
    """Federated optimization of a NumPy model."""


class ScaffoldRecipe(NumpyModel, BaseScaffoldRecipe):
    """SCAFFOLD for a NumPy model."""


class CyclicRecipe(NumpyModel, BaseCyclicRecipe):
    """Cyclic learning of a NumPy model."""


class CrossSiteEvalRecipe(NumpyModel, BaseCrossSiteEvalRecipe):
    """Evaluation of a NumPy model and of every site's model at every site."""


class FedEvalRecipe(NumpyModel, BaseFedEvalRecipe):
    """Evaluation of an existing NumPy model at every site."""


class SwarmLearningRecipe(NumpyModel, BaseSwarmLearningRecipe):
    """Swarm learning of a NumPy model."""
