"""What a recipe can be given so that the sites keep the models that were trained."""

from __future__ import annotations

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.job import ExecutorEntry
from flare_core.recipes.script import ScriptRecipe
from flare_core.task import TaskName

__all__ = ["KEEPS_MODELS", "add_model_distribution"]

KEEPS_MODELS = ExecutorEntry((TaskName.KEEP_MODEL,), Component("flare_runtime.site.site_executor.KeepModelExecutor"))


def add_model_distribution(recipe: ScriptRecipe) -> None:
    """After ``recipe``'s training, give the global model and the best one to all sites that are there.

    Each site finds them in its folder of the run, as ``global_model.safetensors`` and ``best_model.safetensors``; the
    run ends with a table of who has which. A swarm does so anyway. Scripts need do nothing.

    Raises:
        RecipeError: ``recipe`` runs no script, or does so already.
    """
    if not isinstance(recipe, ScriptRecipe):
        raise RecipeError(f"{type(recipe).__name__} runs no training script, so there is no model to give to its sites")
    recipe.add_workflow(Component("flare_core.workflows.Distribution"))
    recipe.add_executor(KEEPS_MODELS)
