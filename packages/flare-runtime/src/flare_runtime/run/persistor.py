"""SafetensorsPersistor: checkpoints of models whose arrays are all that there is to keep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import CodeBundle, flatten, unflatten

__all__ = ["SafetensorsPersistor"]


class SafetensorsPersistor:
    """Reads the initial model from the job's code; a framework's own derives from it and adds its format.

    Args:
        initial: the safetensors file's place in the job's code; None starts without params.
    """

    def __init__(self, initial: str | None = None) -> None:
        self.initial = initial

    def initial_file(self, code: CodeBundle) -> Path | None:
        """Where the initial model lies."""
        return None if self.initial is None else code.locate(self.initial)

    def export(self, checkpoint: Path) -> None:
        """Write nothing more: a safetensors file can be read anywhere."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return arrays that may be changed."""
        return unflatten({key: np.array(value) for key, value in flatten(params)})
