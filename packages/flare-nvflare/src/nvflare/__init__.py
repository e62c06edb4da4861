"""The names of NVIDIA FLARE, provided by Flare: scripts, recipes and jobs written for it run unchanged.

A module here holds the names of the module at the same path there. Most are Flare's own objects, or small adapters onto
them; :mod:`nvflare._flare` holds what the adapters share. Nothing imports a framework until one of its names is used.
"""

import sys

from nvflare._flare.missing import MISSING
from nvflare._flare.names import ExplainingFinder, lazy
from nvflare._flare.only_one import check_only_one

check_only_one()
if not any(isinstance(each, ExplainingFinder) for each in sys.meta_path):
    sys.meta_path.append(ExplainingFinder(MISSING))

__version__ = "2.8.1+flare"
"""The newest release whose names are provided, for scripts that compare versions."""

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "FedJob": "nvflare.job_config.api",
        "FilterType": "nvflare.job_config.defs",
        "SimulatorRunner": "nvflare.private.fed.app.simulator.simulator_runner",
    },
)
