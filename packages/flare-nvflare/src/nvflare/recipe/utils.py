"""Functions that extend a recipe."""

from __future__ import annotations

from typing import Any

from flare_core import recipes
from nvflare.recipe.spec import Recipe


def add_experiment_tracking(
    recipe: Recipe,
    tracking_type: str,
    tracking_config: dict[str, Any] | None = None,
    client_side: bool = False,
    server_side: bool = True,
) -> None:
    """Send the metrics of the recipe's runs to an experiment tracker."""
    assert recipe.job.native is not None
    recipes.add_experiment_tracking(recipe.job.native, tracking_type, tracking_config, client_side, server_side)
