"""PyTorch models as ExecuTorch training programs, and a device that runs them.

Needs the extra ``executorch``. Exporting takes torch and ExecuTorch's compiler; a device takes ExecuTorch's runtime,
here through its Python module. Both are imported when they are used.
"""

from flare_edge.executorch.device import ExecutorchWork, LoadedProgram, params_of
from flare_edge.executorch.exporting import device_config, exported

__all__ = ["ExecutorchWork", "LoadedProgram", "device_config", "exported", "params_of"]
