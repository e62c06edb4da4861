"""Checkpoints of scikit-learn models: the safetensors file holds their arrays already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import CodeBundle, flatten, unflatten

__all__ = ["SklearnPersistor"]


class SklearnPersistor:
    """Reads the initial model from the job's code.

    Args:
        initial: the safetensors file's place in the job's code; None starts without params.
    """

    def __init__(self, initial: str | None = None) -> None:
        self.initial = initial

    def initial_file(self, code: CodeBundle) -> Path | None:
        """Where the initial model lies."""
        return None if self.initial is None else code.locate(self.initial)

    def export(self, checkpoint: Path) -> None:
        """Write nothing more."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return arrays that may be changed."""
        return unflatten({key: np.array(value) for key, value in flatten(params)})
