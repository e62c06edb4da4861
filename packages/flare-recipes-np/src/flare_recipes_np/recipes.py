"""One recipe class for each algorithm, for NumPy models."""

from __future__ import annotations

from flare_core.recipes import cyclic, evaluation, fedavg, fedopt, scaffold, swarm
from flare_recipes_np.model import NumpyModel


class FedAvgRecipe(NumpyModel, fedavg.BaseFedAvgRecipe):
    """Federated averaging of a NumPy model."""


class FedOptRecipe(NumpyModel, fedopt.BaseFedOptRecipe):
    """Federated optimization of a NumPy model."""


class ScaffoldRecipe(NumpyModel, scaffold.BaseScaffoldRecipe):
    """SCAFFOLD for a NumPy model."""


class CyclicRecipe(NumpyModel, cyclic.BaseCyclicRecipe):
    """Cyclic learning of a NumPy model."""


class CrossSiteEvalRecipe(NumpyModel, evaluation.BaseCrossSiteEvalRecipe):
    """Evaluation of a NumPy model and of every site's model at every site."""


class FedEvalRecipe(NumpyModel, evaluation.BaseFedEvalRecipe):
    """Evaluation of an existing NumPy model at every site."""


class SwarmLearningRecipe(NumpyModel, swarm.BaseSwarmLearningRecipe):
    """Swarm learning of a NumPy model."""
