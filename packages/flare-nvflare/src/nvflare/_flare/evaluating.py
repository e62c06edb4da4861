"""Evaluation of models at all sites after the training of one of Flare's recipes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core import RecipeError, recipes
from flare_core.code import calling_folder, find_script
from flare_core.recipes.script import ScriptRecipe
from nvflare.app_common.app_constant import AppConstants

logger = logging.getLogger(__name__)


def add_evaluation(recipe: ScriptRecipe, participating_clients: Sequence[str] | None = None) -> None:
    """Evaluate the global, the best and every site's model at every site, after the training.

    Args:
        recipe: the recipe; sites have models of their own if its script knows the task for them.
        participating_clients: the sites that take part; all by default.
    Raises:
        RecipeError: the recipe already evaluates across sites.
    """
    models = ("global", "best", "sites") if _submits_models(recipe) else ("global", "best")
    recipes.add_cross_site_evaluation(recipe, models=models, participating_clients=participating_clients)


def sites_of_evaluation(settings: Mapping[str, Any]) -> list[str] | None:
    """Return the sites that take part in an evaluation after a swarm; None for all.

    Args:
        settings: the arguments of the evaluation's controller.
    Raises:
        RecipeError: some sites shall only evaluate, or only have their models evaluated.
    """
    for name in ("evaluators", "evaluatees"):
        if settings.get(name):
            raise RecipeError(
                f"{name} is {settings[name]!r}, but every site evaluates the models of all; leave it out, and name the"
                " sites that take part as participating_clients"
            )
    return settings.get("participating_clients") or None


def _submits_models(recipe: ScriptRecipe) -> bool:
    """Return True unless the script evidently knows nothing of the task for its own model."""
    path = Path(recipe.train_script)
    if path.is_absolute() and not path.exists():  # installed at the sites
        return True
    script = find_script(path, calling_folder())
    if AppConstants.TASK_SUBMIT_MODEL in script.read_text(encoding="utf-8"):
        return True
    logger.warning(
        "%s does not check flare.is_submit_model(), so only the server's models are evaluated; to evaluate the sites'"
        " as well, let it send its own model then",
        script.name,
    )
    return False
