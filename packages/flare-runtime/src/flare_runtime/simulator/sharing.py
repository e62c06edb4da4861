"""Which sites of a simulation share processes: none, if they are few and memory bears a process for each.

A process of its own is the only place where nothing that one script changes reaches another. It costs start-up time and
memory, though, which a thousand of them would not get.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from flare_core import CodeBundle, Job
from flare_core.extensions import extensions
from flare_runtime.simulator.pool import can_fork
from flare_runtime.simulator.preload import mentioned

__all__ = ["available_bytes", "process_bytes", "sites_share"]

MOST_PROCESSES = 64

FORKED_BYTES = 64 << 20
"""For a process beside the model: one with PyTorch was measured to need 17 MiB, as it shares what is loaded already."""

FRESH_BYTES = 512 << 20
"""The same for one that has to load its libraries itself."""

LOADED_BY_EACH = frozenset(("tensorflow", "keras"))  # they do not survive a fork


def sites_share(job: Job, sites: Sequence[str], available: int | None) -> bool:
    """Whether there are too many sites for a process each: over 64, or more than half of the memory bears.

    Args:
        available: how many bytes of memory there are, by :func:`available_bytes`; None if nobody knows.
    """
    if len(sites) > MOST_PROCESSES:
        return True
    return available is not None and len(sites) * process_bytes(job) > available // 2


def process_bytes(job: Job) -> int:
    """How much memory a site's process is taken to need; the files of the job, the model among them, count in full."""
    their_recipes = {each.value for each in extensions("flare.frameworks") if each.name in LOADED_BY_EACH}
    forked = can_fork() and (LOADED_BY_EACH | their_recipes).isdisjoint(
        name.partition(".")[0] for name in mentioned(job)
    )
    files = max(sum(map(_size, _files(code))) for code in _bundles(job))
    return (FORKED_BYTES if forked else FRESH_BYTES) + files


def available_bytes(system: Path = Path("/")) -> int | None:
    """How much memory is available to this process: the machine's, or what its control group leaves it if that is less.

    Args:
        system: where ``proc`` and ``sys`` are.
    Returns:
        None if the system does not say.
    """
    found = [*_of_machine(system), *_of_control_groups(system)]
    return min(found) if found else None


def _of_machine(system: Path) -> Iterator[int]:
    try:
        lines = (system / "proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux, which has another name for the whole only
        if "SC_PHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_control_groups(system: Path) -> Iterator[int]:
    """What the limits of this process's group, and of those above it, leave; files in memory can be dropped."""
    try:
        groups = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for group in groups:
        if not group.startswith("0::/"):  # of the first version, whose limits are elsewhere
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
            if limit != "max":
                yield max(0, int(limit) - used + int(kept.get("inactive_file", 0)))


def _bundles(job: Job) -> list[CodeBundle]:
    return [job.code, *(app.code for app in job.sites.values() if app.code is not None)]


def _files(code: CodeBundle) -> Iterator[Path]:
    yield from code.extra.values()
    for place in code.files:
        if place not in code.extra:
            yield code.root / place


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
