"""Pinning of workers to CPU cores.

The scripts of a worker take turns, so it uses one core at a time. Left alone, the kernel wakes the next script on
another core, which must be woken too and has cold caches: a switch then takes five times as long, as measured. Where
there are fewer workers than cores, scripts may use the rest, and workers are not pinned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(workers: int) -> Iterator[int | None]:
    """Yield the core of each worker; None for all cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    for index in range(workers):
        yield cores[index % len(cores)] if 0 < len(cores) <= workers else None


def keep_to_core(core: int | None) -> None:
    """Pin this thread, and the threads and processes that it will start, to a core."""
    if core is not None:
        os.sched_setaffinity(0, {core})
