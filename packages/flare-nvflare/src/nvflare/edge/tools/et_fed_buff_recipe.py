"""Training on devices with ExecuTorch."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "DeviceManagerConfig": "flare_edge",
        "EvaluatorConfig": "flare_edge",
        "ModelManagerConfig": "flare_edge",
        "SimulationConfig": "flare_edge",
    },
    {"ETFedBuffRecipe": "use EdgeFedBuffRecipe with a program for ExecuTorch, see the README of flare-edge"},
)
