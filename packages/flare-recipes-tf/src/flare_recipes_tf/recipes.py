"""One recipe class for each algorithm, for Keras models."""

from __future__ import annotations

from flare_core.recipes import cyclic, evaluation, fedavg, fedopt, scaffold, swarm
from flare_recipes_tf.model import KerasModel


class FedAvgRecipe(KerasModel, fedavg.BaseFedAvgRecipe):
    """Federated averaging of a Keras model."""


class FedOptRecipe(KerasModel, fedopt.BaseFedOptRecipe):
    """Federated optimization of a Keras model."""


class ScaffoldRecipe(KerasModel, scaffold.BaseScaffoldRecipe):
    """SCAFFOLD for a Keras model."""


class CyclicRecipe(KerasModel, cyclic.BaseCyclicRecipe):
    """Cyclic learning of a Keras model."""


class CrossSiteEvalRecipe(KerasModel, evaluation.BaseCrossSiteEvalRecipe):
    """Evaluation of a Keras model and of every site's model at every site."""


class FedEvalRecipe(KerasModel, evaluation.BaseFedEvalRecipe):
    """Evaluation of an existing Keras model at every site."""


class SwarmLearningRecipe(KerasModel, swarm.BaseSwarmLearningRecipe):
    """Swarm learning of a Keras model."""
