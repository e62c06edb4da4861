"""Training on fleets of devices: gateways at sites, asynchronous aggregation, and a simulator of fleets.

The names are imported when they are first used: devices import parts of this package that need NumPy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_edge.errors import EdgeError
    from flare_edge.et_recipe import ETFedBuffRecipe
    from flare_edge.fedbuff import (
        DeviceManagerConfig,
        EvaluatorConfig,
        ModelManagerConfig,
        SimulationConfig,
    )
    from flare_edge.recipe import EdgeFedBuffRecipe
    from flare_edge.simulated import TaskProcessor
    from flare_edge.sum_filters import SumFilter

_MODULES = {
    "DeviceManagerConfig": "flare_edge.fedbuff",
    "ETFedBuffRecipe": "flare_edge.et_recipe",
    "EdgeError": "flare_edge.errors",
    "EdgeFedBuffRecipe": "flare_edge.recipe",
    "EvaluatorConfig": "flare_edge.fedbuff",
    "ModelManagerConfig": "flare_edge.fedbuff",
    "SimulationConfig": "flare_edge.fedbuff",
    "SumFilter": "flare_edge.sum_filters",
    "TaskProcessor": "flare_edge.simulated",
}

__all__ = [
    "DeviceManagerConfig",
    "ETFedBuffRecipe",
    "EdgeError",
    "EdgeFedBuffRecipe",
    "EvaluatorConfig",
    "ModelManagerConfig",
    "SimulationConfig",
    "SumFilter",
    "TaskProcessor",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
