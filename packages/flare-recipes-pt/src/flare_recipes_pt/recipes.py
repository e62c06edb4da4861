"""One recipe class for each algorithm, for PyTorch models."""

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
from flare_recipes_pt.model import TorchModel

__all__ = [
    "CrossSiteEvalRecipe",
    "CyclicRecipe",
    "FedAvgRecipe",
    "FedEvalRecipe",
    "FedOptRecipe",
    "ScaffoldRecipe",
    "SwarmLearningRecipe",
]


class FedAvgRecipe(TorchModel, BaseFedAvgRecipe):
    """Federated averaging of a PyTorch model."""


class FedOptRecipe(TorchModel, BaseFedOptRecipe):
    """Federated optimization of a PyTorch model."""


class ScaffoldRecipe(TorchModel, BaseScaffoldRecipe):
    """SCAFFOLD for a PyTorch model."""


class CyclicRecipe(TorchModel, BaseCyclicRecipe):
    """Cyclic learning of a PyTorch model."""


class CrossSiteEvalRecipe(TorchModel, BaseCrossSiteEvalRecipe):
    """Evaluation of a PyTorch model and of every site's model at every site."""


class FedEvalRecipe(TorchModel, BaseFedEvalRecipe):
    """Evaluation of an existing PyTorch model at every site."""


class SwarmLearningRecipe(TorchModel, BaseSwarmLearningRecipe):
    """Swarm learning of a PyTorch model."""
