"""Environments in which jobs run."""

from flare_runtime.errors import ScriptError
from flare_runtime.simulator import SimEnv, SimRun

__all__ = ["ScriptError", "SimEnv", "SimRun"]
