"""Environments in which jobs run."""

from typing import TYPE_CHECKING, Any

from flare_runtime.errors import ScriptError
from flare_runtime.simulator import SimEnv, SimRun

if TYPE_CHECKING:
    from flare_runtime.admin import Admin
    from flare_runtime.poc import PocEnv
    from flare_runtime.prod import ProdEnv

__all__ = ["Admin", "PocEnv", "ProdEnv", "ScriptError", "SimEnv", "SimRun"]

_DEPLOYED = {"Admin": "admin", "PocEnv": "poc", "ProdEnv": "prod"}
"""What needs more than the simulator does: ``pip install 'flare-runtime[deploy]'``."""


def __getattr__(name: str) -> Any:
    module = _DEPLOYED.get(name)
    if module is None:
        raise AttributeError(f"module 'flare_runtime' has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(f"flare_runtime.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("flare_runtime"):
            raise
        raise ImportError(f"{name} needs {error.name}; pip install 'flare-runtime[deploy]'") from error
