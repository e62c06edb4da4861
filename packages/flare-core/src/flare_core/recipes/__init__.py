"""Framework-independent base classes of the recipes, and functions that extend a recipe."""

from flare_core.recipes.distribution import add_model_distribution
from flare_core.recipes.evaluation import add_cross_site_evaluation
from flare_core.recipes.preceding import preceded_by
from flare_core.recipes.tracking import add_experiment_tracking
from flare_core.recipes.workflow import WorkflowRecipe

__all__ = [
    "WorkflowRecipe",
    "add_cross_site_evaluation",
    "add_experiment_tracking",
    "add_model_distribution",
    "preceded_by",
]
