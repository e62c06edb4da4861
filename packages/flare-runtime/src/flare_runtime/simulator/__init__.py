"""The simulator: a whole federation in one machine's processes."""

from flare_runtime.simulator.environment import SimEnv
from flare_runtime.simulator.run import SimRun

__all__ = ["SimEnv", "SimRun"]
