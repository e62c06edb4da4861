"""The decision whether the sites of a simulation share processes; they do if they are many or memory is short.

Only a process of its own isolates a script completely. But it costs start-up time and memory, too much of both for a
thousand sites.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flare_core import Job
from flare_core.extensions import extensions
from flare_core.job import CodeBundle
from flare_runtime.simulator.pool import can_fork
from flare_runtime.simulator.preload import mentioned

MOST_PROCESSES = 64

FORKED_BYTES = 64 << 20
"""Memory of a forked process without the model; with PyTorch, 17 MiB were measured, since loaded modules are shared."""

FRESH_BYTES = 512 << 20
"""Memory of a process that must load its libraries itself, without the model."""

LOADED_BY_EACH = frozenset(("tensorflow", "keras"))  # they do not survive a fork


def sites_share(job: Job, sites: Sequence[str], available: int | None) -> bool:
    """Return True if the sites should share processes: there are over 64, or they would need over half of the memory.

    Args:
        job: the job.
        sites: the sites.
        available: the bytes of available memory, as :func:`available_bytes` returns it; None if unknown.
    """
    if len(sites) > MOST_PROCESSES:
        return True
    return available is not None and len(sites) * process_bytes(job) > available // 2


def process_bytes(job: Job) -> int:
    """Estimate the memory of a site's process; the job's files, which include the model, count in full."""
    their_recipes = {each.value for each in extensions("flare.frameworks") if each.name in LOADED_BY_EACH}
    forked = can_fork() and (LOADED_BY_EACH | their_recipes).isdisjoint(
        name.partition(".")[0] for name in mentioned(job)
    )
    bundles = (job.code, *(app.code for app in job.sites.values() if app.code is not None))
    return (FORKED_BYTES if forked else FRESH_BYTES) + max(map(_size, bundles))


def available_bytes(system: Path = Path("/")) -> int | None:
    """Return the memory available to this process: the machine's, or that of its control group if it is less.

    Args:
        system: the parent folder of ``proc`` and ``sys``.
    Returns:
        The number of bytes; None if unknown.
    """
    found = [*_of_machine(system), *_of_control_groups(system)]
    return min(found) if found else None


def _of_machine(system: Path) -> Iterator[int]:
    try:
        lines = (system / "proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux; elsewhere, only the total memory is known
        if "SC_PHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_control_groups(system: Path) -> Iterator[int]:
    """Yield the memory that the limits of this process's control group, and of its parents, leave."""
    try:
        groups = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        if not group.startswith("0::/"):  # a group of version 1, whose limits are elsewhere
            continue
        place = Path(group.removeprefix("0::/"))
        for path in (place, *place.parents):
            folder = system / "sys/fs/cgroup" / path
            try:
                limit = (folder / "memory.max").read_text().strip()
                used = int((folder / "memory.current").read_text())
                kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except OSError:  # the topmost group has no limit
                continue
            if limit != "max":  # pages of inactive files count as used, but can be dropped
                yield max(0, int(limit) - used + int(kept.get("inactive_file", 0)))


def _size(code: CodeBundle) -> int:
    files = (*code.extra.values(), *(code.root / place for place in code.files if place not in code.extra))
    return sum(file.stat().st_size for file in files if file.is_file())
