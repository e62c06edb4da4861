"""The SCAFFOLD recipe without a framework."""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.recipes.fedavg import BaseFedAvgRecipe

__all__ = ["BaseScaffoldRecipe"]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseScaffoldRecipe(BaseFedAvgRecipe):
    """SCAFFOLD: federated averaging with control variates, which undo the drift of sites with different data.

    The script uses the Scaffold helper of its framework's package. An ``aggregator`` of one's own cannot be used: the
    controls are summed beside the weighted mean of the models. Nor can a ``quorum``: the controls of all sites in a
    round must have been made from the same model.
    """

    name: str = "scaffold"

    def _workflow(self) -> Component:
        args = self._workflow_args()
        if args.pop("aggregator", None) is not None:
            raise RecipeError("aggregator cannot be chosen for SCAFFOLD, whose controls belong to the weighted mean")
        if self.quorum is not None:
            raise RecipeError("quorum cannot be chosen for SCAFFOLD, whose controls belong to the model of their round")
        for name in ("quorum", "staleness_exponent", "max_staleness"):
            del args[name]
        return Component("flare_core.workflows.Scaffold", {**args, "trainable": self._trainable})
