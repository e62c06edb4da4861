"""The cyclic recipe without a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flare_core.components import Component
from flare_core.recipes.script import ScriptRecipe

__all__ = ["BaseCyclicRecipe"]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseCyclicRecipe(ScriptRecipe):
    """Cyclic learning: the model goes from site to site, and each trains on what the one before has made of it.

    Args:
        order: ``fixed``, as the run lists the sites; ``random``, drawn anew for each round; or a list of names, others
            taking no part.
    """

    name: str = "cyclic"
    order: str | Sequence[str] = "fixed"

    def _workflow(self) -> Component:
        order = self.order if isinstance(self.order, str) else list(self.order)
        args = {"min_clients": self.min_clients, "num_rounds": self.num_rounds, "order": order}
        return Component("flare_core.workflows.Cyclic", args)
