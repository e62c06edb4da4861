"""Framework-independent base classes of the recipes, and functions that extend a recipe."""

from flare_core.recipes.cyclic import BaseCyclicRecipe
from flare_core.recipes.distribution import add_model_distribution
from flare_core.recipes.evaluation import BaseCrossSiteEvalRecipe, BaseFedEvalRecipe, add_cross_site_evaluation
from flare_core.recipes.fedavg import BaseFedAvgRecipe
from flare_core.recipes.fedopt import BaseFedOptRecipe
from flare_core.recipes.scaffold import BaseScaffoldRecipe
from flare_core.recipes.script import ScriptRecipe
from flare_core.recipes.swarm import BaseSwarmLearningRecipe
from flare_core.recipes.tracking import add_experiment_tracking
from flare_core.recipes.workflow import WorkflowRecipe

__all__ = [
    "BaseCrossSiteEvalRecipe",
    "BaseCyclicRecipe",
    "BaseFedAvgRecipe",
    "BaseFedEvalRecipe",
    "BaseFedOptRecipe",
    "BaseScaffoldRecipe",
    "BaseSwarmLearningRecipe",
    "ScriptRecipe",
    "WorkflowRecipe",
    "add_cross_site_evaluation",
    "add_experiment_tracking",
    "add_model_distribution",
]
