"""Which processor core a worker keeps to.

The scripts of a worker take turns, so it uses one core at a time; the system, left alone, wakes the next script on
another core, which has to be woken too and has none of the data in its cache: measured, a switch then takes five times
as long. Where there are fewer workers than cores, a script may use those that are left, and nothing is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["available_cores", "keep_to_core", "share_cores"]


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(workers: int) -> Iterator[int | None]:
    """Yield each worker's core; None if it may use all."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for index in range(workers):
        yield cores[index % len(cores)] if 0 < len(cores) <= workers else None


def keep_to_core(core: int | None) -> None:
    """Let this thread, and the threads and processes that it will start, run on ``core`` only."""
    if core is not None:
        os.sched_setaffinity(0, {core})
