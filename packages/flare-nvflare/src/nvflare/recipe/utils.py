"""Functions that extend a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_core import recipes
from flare_core.errors import RecipeError
from flare_core.recipes.script import ScriptRecipe
from nvflare._flare.evaluating import add_evaluation
from nvflare.recipe.spec import Recipe

_FOLDERS: dict[str, dict[str, Any]] = {"tensorboard": {"folder": "tb_events", "by_site": True}}
_ELSEWHERE = ("buffer_flush_time", "events", "process_timeout")  # settings of NVIDIA FLARE's own parts


def add_experiment_tracking(
    recipe: Recipe,
    tracking_type: str,
    tracking_config: Mapping[str, Any] | None = None,
    client_side: bool = False,
    server_side: bool = True,
    clients: Sequence[str] | None = None,
) -> None:
    """Send the metrics of the recipe's runs to an experiment tracker.

    Args:
        recipe: the recipe.
        tracking_type: ``mlflow``, ``tensorboard`` or ``wandb``.
        tracking_config: arguments of the receiver, NVIDIA FLARE's (``tb_folder``, ``kw_args``, ``wandb_args``, …) or
            those of :mod:`flare_runtime.tracking`.
        client_side: each site writes its own metrics.
        server_side: the server writes the metrics of all sites.
        clients: the sites that write their own; all by default.
    Raises:
        RecipeError: the type is unknown, neither side writes, or a package is not installed.
    """
    settings = _FOLDERS.get(tracking_type, {}) | _settings(tracking_type, tracking_config)
    recipes.add_experiment_tracking(native(recipe), tracking_type, settings, client_side, server_side)


def add_cross_site_evaluation(
    recipe: Recipe,
    submit_model_timeout: int = 600,
    validation_timeout: int = 6000,
    participating_clients: Sequence[str] | None = None,
) -> None:
    """Evaluate the global, the best and every site's model at every site, after the training.

    A script that never mentions ``submit_model`` takes the task of that name for one to train, without a model. Only
    the server's models are evaluated then, with a warning.

    Args:
        recipe: the recipe.
        submit_model_timeout: without effect; a site that is connected is waited for.
        validation_timeout: without effect, as well.
        participating_clients: the sites that take part; all by default.
    Raises:
        RecipeError: the recipe runs no script, or already evaluates across sites.
    """
    flare_recipe = native(recipe)
    if not isinstance(flare_recipe, ScriptRecipe):
        raise RecipeError(f"{type(recipe).__name__} runs no training script, so there are no models to evaluate")
    add_evaluation(flare_recipe, participating_clients)


def set_per_site_config(recipe: Recipe, config: dict[str, dict[str, Any]]) -> None:
    """Set settings of sites; see :meth:`nvflare.recipe.spec.Recipe.set_per_site_config`."""
    recipe.set_per_site_config(config)


def set_recipe_meta(recipe: Recipe, key: Any, value: Any) -> None:
    """Set an entry of the meta.json of the recipe's job; of those that Flare reads, ``mandatory_clients``.

    Args:
        recipe: the recipe.
        key: the name of the entry.
        value: its value.
    """
    recipe.job.meta_props[str(getattr(key, "value", key))] = value


def native(recipe: Recipe) -> Any:
    """Return the recipe of Flare's that a recipe stands for.

    Raises:
        RecipeError: it has none, since it is made of parts.
    """
    if recipe.job.native is None:
        raise RecipeError(
            f"{type(recipe).__name__} is made of parts of its own; add a receiver or a workflow to its job with"
            " job.to_server(...)"
        )
    return recipe.job.native


def _settings(tracking_type: str, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of Flare's receiver, given those of NVIDIA FLARE's."""
    given = {name: value for name, value in (config or {}).items() if name not in _ELSEWHERE and value is not None}
    if tracking_type == "tensorboard" and "tb_folder" in given:
        given["folder"] = given.pop("tb_folder")
    given |= given.pop("kw_args", {})
    if wandb_args := given.pop("wandb_args", None):
        from nvflare.app_opt.tracking.wandb.wandb_receiver import of_wandb

        given |= of_wandb(wandb_args)
    return given
