"""One recipe class for each algorithm, for Keras models."""

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
from flare_recipes_tf.model import KerasModel

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
]


class FedAvgRecipe(KerasModel, BaseFedAvgRecipe):
    """Federated averaging of a Keras model."""


class FedOptRecipe(KerasModel, BaseFedOptRecipe):
    """Federated optimization of a Keras model."""


class ScaffoldRecipe(KerasModel, BaseScaffoldRecipe):
    """SCAFFOLD for a Keras model."""


class CyclicRecipe(KerasModel, BaseCyclicRecipe):
    """Cyclic learning of a Keras model."""


class CrossSiteEvalRecipe(KerasModel, BaseCrossSiteEvalRecipe):
    """Evaluation of a Keras model and of every site's model at every site."""


class FedEvalRecipe(KerasModel, BaseFedEvalRecipe):
    """Evaluation of an existing Keras model at every site."""


class SwarmLearningRecipe(KerasModel, BaseSwarmLearningRecipe):
    """Swarm learning of a Keras model."""
