"""Recipes for private set intersection."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(__name__, {"DhPSIRecipe": "nvflare.app_common.psi.recipes.dh_psi"})
