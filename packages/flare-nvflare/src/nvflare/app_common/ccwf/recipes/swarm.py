"""Swarm learning."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {"SwarmLearningRecipe": "nvflare.app_opt.pt.recipes.swarm"},
    {
        "BaseSwarmLearningRecipe": "use SwarmLearningRecipe, or a swarm of nvflare.app_common.ccwf.ccwf_job.CCWFJob",
    },
)
