"""Private set intersection: which ids do all sites have?"""

from flare_psi.errors import PSIError
from flare_psi.ids import PSI
from flare_psi.recipe import PSIRecipe

__all__ = ["PSI", "PSIError", "PSIRecipe"]
