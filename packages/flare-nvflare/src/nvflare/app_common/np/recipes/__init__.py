"""Recipes for NumPy models."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "NumpyCrossSiteEvalRecipe": "nvflare.app_common.np.recipes.cross_site_eval",
        "NumpyFedAvgRecipe": "nvflare.app_common.np.recipes.fedavg",
    },
)
