"""Recipes, the environments in which they are executed, and the runs that come of it."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Run": "nvflare.recipe.run",
        "SimEnv": "nvflare.recipe.sim_env",
        "add_experiment_tracking": "nvflare.recipe.utils",
    },
)
