"""Environments in which jobs run. Each is loaded when it is first asked for."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_runtime.admin import Admin
    from flare_runtime.errors import ScriptError
    from flare_runtime.poc import PocEnv
    from flare_runtime.prod import ProdEnv
    from flare_runtime.run.recorded import RecordedRun, list_runs
    from flare_runtime.simulator import SimEnv, SimRun

__all__ = ["Admin", "PocEnv", "ProdEnv", "RecordedRun", "ScriptError", "SimEnv", "SimRun", "list_runs"]

_MODULES = {
    "Admin": "admin",
    "PocEnv": "poc",
    "ProdEnv": "prod",
    "RecordedRun": "run.recorded",
    "ScriptError": "errors",
    "SimEnv": "simulator",
    "SimRun": "simulator",
    "list_runs": "run.recorded",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module 'flare_runtime' has no attribute {name!r}")
    import importlib

    try:
        return getattr(importlib.import_module(f"flare_runtime.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("flare_"):
            raise
        raise ImportError(f"{name} needs {error.name}; pip install 'flare-runtime[deploy]'") from error
