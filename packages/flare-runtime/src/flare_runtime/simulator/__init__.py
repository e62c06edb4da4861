"""The simulator: a whole federation in processes of one machine."""

from flare_runtime.simulator.environment import SimEnv
from flare_runtime.simulator.simulation import SimRun

__all__ = ["SimEnv", "SimRun"]
