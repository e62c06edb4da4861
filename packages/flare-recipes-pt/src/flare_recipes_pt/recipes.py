"""One recipe class for each algorithm, for PyTorch models."""

from __future__ import annotations

from flare_core.recipes import cyclic, evaluation, fedavg, fedopt, scaffold, swarm
from flare_recipes_pt.model import TorchModel


class FedAvgRecipe(TorchModel, fedavg.BaseFedAvgRecipe):
    """Federated averaging of a PyTorch model."""


class FedOptRecipe(TorchModel, fedopt.BaseFedOptRecipe):
    """Federated optimization of a PyTorch model."""


class ScaffoldRecipe(TorchModel, scaffold.BaseScaffoldRecipe):
    """SCAFFOLD for a PyTorch model."""


class CyclicRecipe(TorchModel, cyclic.BaseCyclicRecipe):
    """Cyclic learning of a PyTorch model."""


class CrossSiteEvalRecipe(TorchModel, evaluation.BaseCrossSiteEvalRecipe):
    """Evaluation of a PyTorch model and of every site's model at every site."""


class FedEvalRecipe(TorchModel, evaluation.BaseFedEvalRecipe):
    """Evaluation of an existing PyTorch model at every site."""


class SwarmLearningRecipe(TorchModel, swarm.BaseSwarmLearningRecipe):
    """Swarm learning of a PyTorch model."""
