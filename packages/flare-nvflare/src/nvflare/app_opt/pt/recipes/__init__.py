"""Recipes for PyTorch models."""

from nvflare._flare.missing import HE
from nvflare._flare.names import lazy

_HERE = "nvflare.app_opt.pt.recipes"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "CyclicRecipe": f"{_HERE}.cyclic",
        "FedAvgRecipe": f"{_HERE}.fedavg",
        "FedEvalRecipe": f"{_HERE}.fedeval",
        "FedOptRecipe": f"{_HERE}.fedopt",
        "FedProxRecipe": f"{_HERE}.fedprox",
        "ScaffoldRecipe": f"{_HERE}.scaffold",
        "SwarmLearningRecipe": f"{_HERE}.swarm",
    },
    {
        "FedAvgRecipeWithHE": HE,
        "FedCERecipe": "use FedAvgRecipe with aggregation_weights, or an aggregator of your own",
    },
)
