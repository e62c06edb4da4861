"""Recipes for gradient-boosted trees."""

from nvflare._flare.names import lazy

_HERE = "nvflare.app_opt.xgboost.recipes"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "XGBBaggingRecipe": f"{_HERE}.bagging",
        "XGBHorizontalRecipe": f"{_HERE}.histogram",
        "XGBVerticalRecipe": f"{_HERE}.vertical",
    },
)
