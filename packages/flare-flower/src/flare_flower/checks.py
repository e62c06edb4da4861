"""Checks before a Flower run starts: at each site, and at the server."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

OLDEST = (1, 40)
"""The first version of flwr whose SuperNodes speak HTTP."""

AHEAD_S = 5.0
BEHIND_S = 305.0
"""How far a node's clock may be ahead of the SuperLink's and behind it; beyond that Flower refuses its requests."""

NEEDED_MIB = 300
"""Memory that a SuperNode and a ClientApp without a model were measured to take."""

POLICY = "flower.json"
"""The file of a site's owner in the folder of local settings: ``{"allow": true, "require_filters": false}``."""


def version() -> str | None:
    """Return the version of flwr that is installed here; None if there is none."""
    try:
        return importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        return None


def missing(imports: Mapping[str, str]) -> dict[str, str]:
    """Return those packages, with the places of their imports, that are not installed here."""
    return {name: place for name, place in imports.items() if importlib.util.find_spec(name) is None}


def clock_offset_s(server_time: Callable[[], float], clock: Callable[[], float] = time.time) -> float:
    """Return by how many seconds this machine's clock is ahead of the server's; of three tries, the quickest counts."""
    tries = []
    for _ in range(3):
        before = clock()
        there = server_time()
        after = clock()
        tries.append((after - before, (before + after) / 2 - there))
    return min(tries)[1]


def available_mib() -> int | None:
    """Return the memory that a new process can get, in MiB; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("MemAvailable:")), None)


def policy(local: Path) -> dict[str, Any]:
    """Return what a site's owner says of Flower apps; empty if nothing.

    Raises:
        ValueError: the file is not an object of JSON.
    """
    file = local / POLICY
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not an object of JSON")
    return found


def problems(site: str, found: Mapping[str, Any], server_version: str) -> list[str]:
    """Return what speaks against a run at a site, a sentence for each, with the remedy.

    Args:
        site: the site.
        found: what the site has found: ``version``, ``missing``, ``offset_s``, ``memory_mib`` and ``policy``.
        server_version: the version of flwr at the server.
    """
    return [*_version_problems(site, found["version"], server_version), *_other_problems(site, found)]


def _version_problems(site: str, theirs: str | None, ours: str) -> list[str]:
    if theirs is None:
        return [f"{site} has no flwr; install there what the server has: pip install flwr=={ours}"]
    if minor(theirs) != minor(ours):
        return [
            f"{site} has flwr {theirs} and the server {ours}; Flower wants the same minor version at both ends:"
            f" pip install flwr=={ours} at {site}"
        ]
    return []


def _other_problems(site: str, found: Mapping[str, Any]) -> list[str]:
    told = []
    for name, place in found["missing"].items():
        told.append(f"{site} lacks the package {name!r}, which the app imports ({place}); pip install it there")
    offset, memory, owner = found["offset_s"], found["memory_mib"], found["policy"]
    if offset > AHEAD_S or offset < -BEHIND_S:
        way = "ahead of" if offset > 0 else "behind"
        told.append(
            f"the clock of {site} is {abs(offset):.0f} s {way} the server's, and Flower refuses requests that are"
            f" {AHEAD_S:.0f} s ahead or {BEHIND_S:.0f} s behind; set it with NTP"
        )
    if memory is not None and memory < NEEDED_MIB:
        told.append(f"{site} has {memory} MiB of free memory, and a node needs {NEEDED_MIB} MiB; free some")
    if owner.get("allow") is False:
        told.append(f"the owner of {site} does not allow Flower apps ({POLICY}); ask them, or leave the site out")
    if owner.get("require_filters"):
        told.append(
            f"the owner of {site} requires filters for what leaves it ({POLICY}), and Flare's filters cannot see what a"
            " Flower app sends; leave the site out, or use a recipe of Flare's"
        )
    return told


def minor(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version."""
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:2])
