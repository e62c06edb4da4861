"""Framework-independent base of the recipes that evaluate without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.recipes.script import ScriptRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class _EvaluationRecipe(ScriptRecipe):
    """A recipe of a single round."""

    num_rounds: int = 1

    def _check(self) -> None:
        if self.num_rounds != 1:
            raise RecipeError(f"num_rounds is {self.num_rounds!r}; an evaluation has one round, so leave it out")
        super()._check()


@dataclass(kw_only=True, eq=False, repr=False)
class BaseFedEvalRecipe(_EvaluationRecipe):
    """Measure an existing model at every site, without training.

    The script receives the model with ``flare.is_evaluate()`` and sends metrics. The run records the metrics of every
    site, and their mean.

    Example:
        recipe = FedEvalRecipe(
            min_clients=2,
            initial_model=model,
            train_script="client.py",
        )
    """

    name: str = "fedeval"

    def _workflow(self) -> Component:
        return Component("flare_core.workflows.FedEval", {"min_clients": self.min_clients})


@dataclass(kw_only=True, eq=False, repr=False)
class BaseCrossSiteEvalRecipe(_EvaluationRecipe):
    """Measure the initial model, and every site's own model, at every site.

    The script sends its own model if ``flare.is_submit_model()``, and metrics of the received model if
    ``flare.is_evaluate()``. The result is a table, and ``server/cross_site_evaluation.json`` in the run's folder.

    Args:
        participating_clients: names of the sites that take part; all by default.

    Example:
        recipe = CrossSiteEvalRecipe(
            min_clients=2,
            initial_model=model,
            train_script="client.py",
        )
    """

    name: str = "cross_site_eval"
    participating_clients: Sequence[str] | None = None

    def _workflow(self) -> Component:
        return _cross_site_eval(self.min_clients, ("global", "sites"), self.participating_clients)


def add_cross_site_evaluation(
    recipe: ScriptRecipe,
    *,
    models: Sequence[str] = ("global", "best", "sites"),
    participating_clients: Sequence[str] | None = None,
) -> None:
    """Evaluate the global, the best and every site's model at every site after the training of ``recipe``.

    The script must also reply to the tasks ``submit_model`` (its own model) and ``validate`` (metrics). The result is
    a table, and ``server/cross_site_evaluation.json`` in the run's folder. The models of a swarm go from site to site.

    Args:
        recipe: the recipe.
        models: the models to evaluate; without ``sites``, the script is asked for no model of its own.
        participating_clients: names of the sites that take part; all by default.

    Raises:
        RecipeError: ``recipe`` runs no script, or already evaluates across sites.
    """
    if not isinstance(recipe, ScriptRecipe):
        raise RecipeError(f"{type(recipe).__name__} runs no training script, so there are no models to evaluate")
    recipe.add_workflow(_cross_site_eval(recipe.min_clients, models, participating_clients))


def _cross_site_eval(min_clients: int, models: Sequence[str], sites: Sequence[str] | None) -> Component:
    args = {"min_clients": min_clients, "models": list(models)}
    if sites is not None:
        args["participating_clients"] = list(sites)
    return Component("flare_core.workflows.CrossSiteEval", args)
