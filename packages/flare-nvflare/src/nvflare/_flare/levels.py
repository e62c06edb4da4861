"""The statistics of a hierarchy of sites in the form of NVIDIA FLARE's: nested, one group in another.

{"Global": {statistic: {data set: {feature: value}}},
 "States": [{"Name": "north", "Global": {…}, "clinics": [{"Name": "site-1", "Local": {…}}]}]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flare_core import ObservedRun, Observer
from flare_core.events import RunEnded
from nvflare._flare.layout import JOB

_GLOBAL = "Global"


class LevelsFile(Observer):
    """Writes the statistics of a run in nested form, where NVIDIA FLARE's tools look for them.

    Args:
        path: the file that Flare writes, below the server's folder of the run.
        levels: the hierarchy as it is configured: ``{name of the level: [{"Name": …, name of the next: …}]}``.
    """

    def __init__(self, path: str, levels: Mapping[str, Any]) -> None:
        self.path = path
        self.levels = dict(levels)

    def attach(self, run: ObservedRun) -> None:
        """Write the file when the run has ended, if it has statistics."""
        self._folder = run.folder
        run.events.subscribe(RunEnded, self._write)

    def _write(self, event: RunEnded) -> None:
        source = self._folder / self.path
        if not source.is_file():
            return
        flat = json.loads(source.read_text(encoding="utf-8"))
        target = self._folder / JOB / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(nested(flat, self.levels)) + "\n", encoding="utf-8")


def nested(flat: Mapping[str, Any], levels: Mapping[str, Any]) -> dict[str, Any]:
    """Return statistics by level.

    Args:
        flat: ``{feature: {statistic: {site, group or Global: {data set: value}}}}``.
        levels: the hierarchy as it is configured.
    """
    return {_GLOBAL: _of(_GLOBAL, flat)} | dict(_below(levels, "", flat))


def _below(levels: Mapping[str, Any], above: str, flat: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for level, entries in levels.items():
        if level != "Name":
            yield level, [_entry(each, above, flat) for each in entries]


def _entry(entry: Any, above: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"Name": entry, "Local": _of(entry, flat)}
    group = f"{above}{entry['Name']}"
    return {"Name": entry["Name"], _GLOBAL: _of(group, flat)} | dict(_below(entry, f"{group}/", flat))


def _of(place: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the statistics of a site, a group or all, as ``{statistic: {data set: {feature: value}}}``."""
    found: dict[str, Any] = {}
    for feature, statistics in flat.items():
        for statistic, places in statistics.items():
            for dataset, value in places.get(place, {}).items():
                found.setdefault(statistic, {}).setdefault(dataset, {})[feature] = value
    return found
