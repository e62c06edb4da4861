"""A recipe for models of the framework ``pebbles``."""

from dataclasses import dataclass

from flare_recipes_np import FedAvgRecipe


@dataclass(kw_only=True, eq=False, repr=False)
class PebbleRecipe(FedAvgRecipe):
    """Federated averaging of pebbles."""
