"""Persistors: the initial model of a job, and checkpoints in the format of its framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from flare_core.job import CodeBundle
from flare_core.model import flatten, unflatten


@runtime_checkable
class Persistor(Protocol):
    """Finds a job's initial model, and writes checkpoints in its framework's own format."""

    def initial_file(self, code: CodeBundle) -> Path | None:
        """Return the safetensors file of the initial model; None if the job has none."""

    def export(self, checkpoint: Path) -> None:
        """Write the framework's own format beside a finished safetensors checkpoint."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Turn numpy arrays into arrays of the framework."""


class SafetensorsPersistor:
    """A persistor for models that consist of arrays alone; those of frameworks derive from it and add their format.

    Args:
        initial: path of the safetensors file within the job's code; None starts without params.
    """

    def __init__(self, initial: str | None = None) -> None:
        self.initial = initial

    def initial_file(self, code: CodeBundle) -> Path | None:
        """Return the path of the initial model; None if there is none."""
        return None if self.initial is None else code.locate(self.initial)

    def export(self, checkpoint: Path) -> None:
        """Write nothing more: a safetensors file can be read anywhere."""

    def to_framework(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return arrays that may be changed."""
        return copied(params)


def copied(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays with memory of their own: those mapped from a file cannot be changed."""
    return unflatten({key: np.array(value) for key, value in flatten(params)})
