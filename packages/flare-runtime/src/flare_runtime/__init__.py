"""Run jobs: simulate them on this machine, and read what runs have recorded."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_runtime.errors import ScriptError
    from flare_runtime.run.recorded import RecordedRun, list_runs
    from flare_runtime.simulator.environment import SimEnv
    from flare_runtime.simulator.simulation import SimRun

__all__ = ["RecordedRun", "ScriptError", "SimEnv", "SimRun", "list_runs"]

_MODULES = {
    "RecordedRun": "run.recorded",
    "ScriptError": "errors",
    "SimEnv": "simulator.environment",
    "SimRun": "simulator.simulation",
    "list_runs": "run.recorded",
}
_DEPLOYED = ("Admin", "PocEnv", "ProdEnv")


def __getattr__(name: str) -> Any:
    if name in _DEPLOYED:
        raise ImportError(
            f"{name} is in another package: pip install flare-deploy, then from flare_deploy import {name}"
        )
    if name not in _MODULES:
        raise AttributeError(f"module 'flare_runtime' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"flare_runtime.{_MODULES[name]}"), name)
