"""Framework-independent base of the SCAFFOLD recipe."""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.components import Component
from flare_core.errors import RecipeError
from flare_core.recipes.fedavg import BaseFedAvgRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class BaseScaffoldRecipe(BaseFedAvgRecipe):
    """Federated averaging with control variates, which correct the drift of sites that have different data.

    The script uses ``Scaffold`` from its framework's package; with NumPy it computes the controls itself. Also takes
    the arguments of ``FedAvgRecipe`` except ``aggregator``, since the controls require the weighted mean, and
    ``quorum``, since all controls of a round must come from the same model. A model is sent along with its controls,
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
            raise RecipeError("aggregator cannot be chosen for SCAFFOLD, whose controls require the weighted mean")
        if self.quorum is not None:
            raise RecipeError("quorum cannot be chosen for SCAFFOLD, whose controls belong to the model of their round")
        return Component("flare_core.workflows.Scaffold", {**args, "trainable": self._trainable})
