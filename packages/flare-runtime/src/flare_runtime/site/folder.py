"""The folder in which a site works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

__all__ = ["RECEIVED", "SiteFolder"]

RECEIVED = "received.safetensors"  # in a site's folder, a model that is too large for its memory


@dataclass(frozen=True, slots=True)
class SiteFolder:
    """Where a site works and writes.

    Attributes:
        temporary: where it puts temporary files; None if where the system does.
        is_durable: whether the run is continued when its processes have died.
    """

    path: Path
    log: TextIO
    temporary: Path | None = None
    is_durable: bool = False
