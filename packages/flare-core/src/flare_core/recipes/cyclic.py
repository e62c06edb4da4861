"""Framework-independent base of the cyclic recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flare_core.components import Component
from flare_core.recipes.script import ScriptRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class BaseCyclicRecipe(ScriptRecipe):
    """Pass one model from site to site; each continues training it.

    A round is one pass through all sites. Nothing is averaged, so weights have no effect, and the last site of a round
    has the most influence. No best model is chosen, because each site measures a different one.

    Args:
        order: ``fixed`` is the order in which the run lists the sites; ``random`` is drawn for each round; a list of
            names excludes all others.

    Example:
        recipe = CyclicRecipe(
            min_clients=2,
            num_rounds=5,
            initial_model=model,
            train_script="client.py",
        )
    """

    name: str = "cyclic"
    order: str | Sequence[str] = "fixed"

    def _workflow(self) -> Component:
        order = self.order if isinstance(self.order, str) else list(self.order)
        args = {"min_clients": self.min_clients, "num_rounds": self.num_rounds, "order": order}
        return Component("flare_core.workflows.Cyclic", args)
