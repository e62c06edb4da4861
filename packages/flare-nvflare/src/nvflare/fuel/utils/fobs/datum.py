"""Names of what large data are for NVIDIA FLARE; with Flare they travel beside a message by themselves."""

from __future__ import annotations

from enum import Enum
from typing import Any


class DatumType(Enum):
    """Kinds of large data."""

    TEXT = 1
    BLOB = 2
    FILE = 3


class Datum:
    """A piece of large data."""

    def __init__(self, datum_type: DatumType, value: Any, dot: int = 0) -> None:
        self.datum_type = datum_type
        self.value = value
        self.dot = dot


class DatumManager:
    """Collects large data; it never has any.

    Args:
        threshold: ignored.
        fobs_ctx: values for decomposers.
    """

    def __init__(self, threshold: int | None = None, fobs_ctx: Any = None) -> None:
        self.threshold = threshold
        self.fobs_ctx = fobs_ctx or {}

    def get_fobs_context(self) -> Any:
        """Return the values for decomposers."""
        return self.fobs_ctx

    def get_datums(self) -> dict[str, Datum]:
        """Return no data."""
        return {}

    def externalize(self, data: Any) -> Any:
        """Return the data as they are."""
        return data

    def internalize(self, data: Any) -> Any:
        """Return the data as they are."""
        return data
