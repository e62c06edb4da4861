"""An extension of recipes that stores the trained models at the sites."""

from __future__ import annotations

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.job import ExecutorEntry
from flare_core.recipes.script import ScriptRecipe
from flare_core.task import TaskName

KEEPS_MODELS = ExecutorEntry((TaskName.KEEP_MODEL,), Component("flare_runtime.site.site_executor.KeepModelExecutor"))


def add_model_distribution(recipe: ScriptRecipe) -> None:
    """Send the global model and the best one to all connected sites after the training of ``recipe``.

    Each site stores them in its folder of the run, as ``global_model.safetensors`` and ``best_model.safetensors``; the
    run ends with a table of the files. A swarm always does this. Scripts need no change.

    Raises:
        RecipeError: ``recipe`` runs no script, or already distributes its models.
    """
    if not isinstance(recipe, ScriptRecipe):
        raise RecipeError(f"{type(recipe).__name__} runs no training script, so there is no model to distribute")
    recipe.add_workflow(Component("flare_core.workflows.Distribution"))
    recipe.add_executor(KEEPS_MODELS)
