"""The report of a run's folder, from the files that the run left in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_stats.errors import StatsError
from flare_stats.report.page import make_report

ABOUT, MATRICES = "about.json", "matrices.json"
REPORT = "report.html"


def find_statistics(place: Path) -> Path:
    """Return the file with the statistics of a run.

    Args:
        place: the file itself, the folder in which it lies, or a folder above that, such as the one of the run. The
            file may have any name; it is the one beside ``about.json``.

    Raises:
        StatsError: there is no such file, or there are several.
    """
    if place.is_file():
        return place
    found = [
        file
        for about in sorted(place.rglob(ABOUT))
        for file in sorted(about.parent.glob("*.json"))
        if file.name not in (ABOUT, MATRICES)
    ] or sorted(place.glob("statistics.json"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise StatsError(
            f"{place} holds no statistics; give the folder of a run of FedStatsRecipe, or its statistics.json"
        )
    raise StatsError(f"{place} holds {len(found)} files that may be statistics, such as {found[0]}; give one of them")


def report_of(statistics: Path) -> str:
    """Return the report of a file of statistics and of ``matrices.json`` and ``about.json`` beside it, if they exist.

    Raises:
        StatsError: a file holds no JSON object; names it.
    """
    beside = [statistics.parent / name for name in (MATRICES, ABOUT)]
    return make_report(_read(statistics), *(_read(file) if file.exists() else None for file in beside))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise StatsError(f"{file} is no JSON: {error}; copy it from the run again") from error
    if not isinstance(found, dict):
        raise StatsError(f"{file} holds a {type(found).__name__}, not an object; copy it from the run again")
    return found
