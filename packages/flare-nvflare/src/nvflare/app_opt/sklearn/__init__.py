"""Recipes for scikit-learn."""

from nvflare._flare.names import lazy

_HERE = "nvflare.app_opt.sklearn.recipes"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "KMeansFedAvgRecipe": f"{_HERE}.kmeans",
        "SVMFedAvgRecipe": f"{_HERE}.svm",
        "SklearnFedAvgRecipe": f"{_HERE}.fedavg",
    },
)
