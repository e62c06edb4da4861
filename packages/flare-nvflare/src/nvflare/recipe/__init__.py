"""Recipes, the environments in which they are executed, and the runs that come of it."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "FedAvgRecipe": "nvflare.recipe.fedavg",
        "FedTaskRecipe": "nvflare.recipe.fed_task",
        "PocEnv": "nvflare.recipe.poc_env",
        "ProdEnv": "nvflare.recipe.prod_env",
        "Run": "nvflare.recipe.run",
        "SimEnv": "nvflare.recipe.sim_env",
        "add_cross_site_evaluation": "nvflare.recipe.utils",
        "add_experiment_tracking": "nvflare.recipe.utils",
        "set_per_site_config": "nvflare.recipe.utils",
        "set_recipe_meta": "nvflare.recipe.utils",
    },
    {
        "add_final_global_evaluation": "use add_cross_site_evaluation, which measures the global model as well",
        "secret_file_ref": "put secrets into files at the sites, and give scripts their paths",
        "secret_ref": "put secrets into files at the sites, and give scripts their paths",
    },
)
