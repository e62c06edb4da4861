"""Persistors: the initial model of a job, and checkpoints in the format of its framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_core.job import CodeBundle
from flare_core.model import copied


class SafetensorsPersistor:
    """Finds a job's initial model, and keeps checkpoints as safetensors; those of frameworks derive from it.

    Args:
        initial: path of the safetensors file within the job's code; None starts without params.
    """

    def __init__(self, initial: str | None = None) -> None:
        self.initial = initial

    def initial_file(self, code: CodeBundle) -> Path | None:
        """Return the safetensors file of the initial model; None if the job has none."""
        return None if self.initial is None else code.locate(self.initial)

    def export(self, checkpoint: Path) -> None:
        """Write the framework's own format beside a finished safetensors checkpoint; here, nothing."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Turn numpy arrays into arrays of the framework that may be changed; here, copies."""
        return copied(params)
