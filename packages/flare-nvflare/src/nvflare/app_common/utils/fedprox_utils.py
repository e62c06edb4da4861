"""The strength of FedProx's proximal term, as a recipe gives it to scripts."""

from __future__ import annotations

import math

from flare_core import FLModel, RecipeError

FEDPROX_MU = "fedprox_mu"


def validate_fedprox_mu(fedprox_mu: float) -> float:
    """Return the strength.

    Raises:
        RecipeError: it is not a finite number above 0.
    """
    is_number = isinstance(fedprox_mu, int | float) and not isinstance(fedprox_mu, bool)
    if not is_number or not math.isfinite(fedprox_mu) or fedprox_mu <= 0:
        raise RecipeError(f"fedprox_mu is {fedprox_mu!r}; give a finite number above 0")
    return float(fedprox_mu)


def get_fedprox_mu(model: FLModel) -> float:
    """Return the strength that the recipe chose, from a received model.

    Raises:
        RecipeError: the recipe is no FedProxRecipe.
    """
    if FEDPROX_MU not in model.meta:
        raise RecipeError(f"the received model has no meta[{FEDPROX_MU!r}]; run the script in a FedProxRecipe")
    return validate_fedprox_mu(model.meta[FEDPROX_MU])
