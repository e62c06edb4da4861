"""What only Unix systems have: file locks, process groups, and how much memory a process has used."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import resource

__all__ = ["IS_UNIX", "NEEDS_UNIX", "own_peak_bytes", "peak_bytes"]


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it was imported as None, which keeps others from importing it
        return False


IS_UNIX = _exists("fcntl") and _exists("resource")
"""Whether jobs can run here; where they cannot, they can still be submitted to a server elsewhere."""

NEEDS_UNIX = "needs file locks, process groups and Unix sockets, which this system does not have; on Windows, use WSL 2"


def own_peak_bytes() -> int:
    """The most memory that this process has had at a time; 0 where nobody knows."""
    if not IS_UNIX:
        return 0
    import resource

    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def peak_bytes(usage: resource.struct_rusage, system: str = sys.platform) -> int:
    """The most memory that a process has had at a time.

    Args:
        usage: what the system says of the process.
        system: which system says it; macOS counts in bytes, the others in KiB.
    """
    return usage.ru_maxrss * (1 if system == "darwin" else 1024)
