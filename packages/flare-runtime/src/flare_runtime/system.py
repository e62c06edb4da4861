"""Features of Unix systems: file locks, process groups, and the peak memory of a process."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import resource


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # sys.modules has None for it, which blocks its import
        return False


IS_UNIX = _exists("fcntl") and _exists("resource")
"""True if jobs can run here; elsewhere, jobs can still be submitted to a server."""

NEEDS_UNIX = "needs file locks, process groups and Unix sockets, which this system does not have; on Windows, use WSL 2"


def own_peak_bytes() -> int:
    """Return the peak memory of this process in bytes; 0 if unknown."""
    if not IS_UNIX:
        return 0
    import resource

    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def peak_bytes(usage: resource.struct_rusage, system: str = sys.platform) -> int:
    """Return the peak memory of a process in bytes.

    Args:
        usage: the resource usage of the process.
        system: the operating system, as in ``sys.platform``: macOS counts in bytes, others in KiB.
    """
    return usage.ru_maxrss * (1 if system == "darwin" else 1024)
