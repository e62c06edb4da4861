"""The SCAFFOLD recipe without a framework."""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.recipes.fedavg import BaseFedAvgRecipe

__all__ = ["BaseScaffoldRecipe"]


@dataclass(kw_only=True, eq=False, repr=False)
class BaseScaffoldRecipe(BaseFedAvgRecipe):
    """Federated averaging with control variates, which correct the drift of sites that have different data.

    The script uses ``Scaffold`` of its framework's package; with NumPy it computes the controls itself. Takes the
    arguments of ``FedAvgRecipe`` too, except ``aggregator``, since the controls belong to the weighted mean, and
    ``quorum``, since all controls of a round must come from the same model. A model and its controls travel together,
    so traffic doubles.

    Example:
        recipe = ScaffoldRecipe(
            min_clients=2,
            num_rounds=5,
            initial_model=model,
            train_script="scaffold_client.py",
            key_metric=None,
        )
    """

    name: str = "scaffold"

    def _workflow(self) -> Component:
        args = self._workflow_args()
        if args.pop("aggregator", None) is not None:
            raise RecipeError("aggregator cannot be chosen for SCAFFOLD, whose controls belong to the weighted mean")
        if self.quorum is not None:
            raise RecipeError("quorum cannot be chosen for SCAFFOLD, whose controls belong to the model of their round")
        return Component("flare_core.workflows.Scaffold", {**args, "trainable": self._trainable})
