"""The runs in a workspace: found by their folders, whatever environment they ran in, even after a move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from flare_core import FlareError, RunStatus
from flare_runtime.run.folder import RunFolder, default_workspace
from flare_runtime.run.record import number_of, read_metrics, read_summary

UNFINISHED = "unfinished"
"""The status of a run without a summary: it is still running, or its process was killed."""

_OTHERS = ("log.txt", "metrics.jsonl", "server")  # in the folder of a run from its start


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """The record of a run.

    Attributes:
        id: the names of its job and its folder, such as ``hello-pt/20260102-101500``.
        job: the job's name.
        folder: its current folder.
        status: ``finished``, ``failed`` or ``aborted``; ``unfinished`` if it is running or its process was killed.
        started: its start, in seconds since the epoch.
        seconds: its duration; None if it has not ended.
        rounds: the number of completed rounds.
        sites: the names of its sites.
        key_metric: the metric by which its models are compared, or its first metric; None if it has none.
        best: ``round`` and ``value`` of the best model; None if none was chosen.
        metrics: the averages of the last round, by name.
        recipe: ``class``, ``arguments``, ``added`` and ``code``, as in ``summary.json``; empty if not recorded.
        error: the error that ended it, if it did not finish.
    """

    id: str
    job: str
    folder: Path
    status: str
    started: float
    seconds: float | None = None
    rounds: int = 0
    sites: tuple[str, ...] = ()
    key_metric: str | None = None
    best: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def models(self) -> dict[str, Path]:
        """The checkpoints that exist, by name: ``global`` and ``best``."""
        kept = {name: RunFolder(self.folder).checkpoint(name) for name in ("global", "best")}
        return {name: path for name, path in kept.items() if path.is_file()}

    def curves(self) -> dict[str, dict[int, float]]:
        """Return the averages over the sites, by metric and round.

        Values that are not finite numbers are left out; of a round that was recorded twice, the last value counts.
        """
        found: dict[str, dict[int, float]] = {}
        for row in read_metrics(RunFolder(self.folder).metrics):
            value = number_of(row["value"])
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if row["site"] is None and row["round"] is not None and is_number:
                found.setdefault(row["key"], {})[row["round"]] = float(value)
        return found


def list_runs(workspace: str | Path | None = None) -> list[RecordedRun]:
    """Return the runs of a workspace, newest first.

    Args:
        workspace: the folder; by default ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder.
    """
    root = default_workspace() if workspace is None else Path(workspace).expanduser().absolute()
    found = [_read(path) for path in root.glob("*/*") if _is_run(path)]
    return sorted(found, key=lambda run: (run.started, run.id), reverse=True)


def find_run(name: str, runs: Sequence[RecordedRun]) -> RecordedRun:
    """Find a run by name.

    Args:
        name: the folder of a run, its id or the last part of it, or the name of a job, for its newest run.
        runs: the runs of the workspace, newest first.
    Raises:
        FlareError: no run matches, or more than one does.
    """
    path = Path(name).expanduser()
    if _is_run(path):
        return _read(path.absolute())
    if named := [run for run in runs if name in (run.id, run.job)]:
        return named[0]
    same = [run for run in runs if run.folder.name == name]
    if len(same) > 1:
        raise FlareError(f"{name!r} could be {' or '.join(run.id for run in same)}; name it with its job")
    if not same:
        there = f"there are {', '.join(run.id for run in runs[:5])}" if runs else "the workspace holds no runs"
        more = ", …" if len(runs) > 5 else ""
        raise FlareError(f"there is no run {name!r}: give its id, its folder or the name of its job; {there}{more}")
    return same[0]


def _is_run(path: Path) -> bool:
    return path.is_dir() and ((path / "summary.json").is_file() or all((path / each).exists() for each in _OTHERS))


def _read(path: Path) -> RecordedRun:
    folder = RunFolder(path)
    try:
        summary = read_summary(folder)
    except (OSError, ValueError) as error:
        summary = {} if isinstance(error, FileNotFoundError) else {"error": str(error)}
    statuses = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.ABORTED)
    status = summary.get("outcome") if summary.get("outcome") in statuses else UNFINISHED
    job = str(summary.get("job") or path.parent.name)
    recipe = summary.get("recipe")
    return RecordedRun(
        id=f"{path.parent.name}/{path.name}",
        job=job,
        folder=path,
        status=str(status),
        started=_started(summary, folder),
        seconds=summary.get("seconds"),
        rounds=int(summary["rounds"]) if "rounds" in summary else _rounds(folder),
        sites=tuple(summary["sites"]) if "sites" in summary else tuple(_sites(folder)),
        key_metric=summary.get("key_metric"),
        best=summary.get("best"),
        metrics={key: number_of(value) for key, value in (summary.get("metrics") or {}).items()},
        recipe=recipe if isinstance(recipe, Mapping) else {},
        error=summary.get("error"),
    )


def _started(summary: Mapping[str, Any], folder: RunFolder) -> float:
    try:
        return datetime.fromisoformat(summary["started"]).timestamp()
    except (KeyError, TypeError, ValueError):  # the run has not ended, or could not start
        return folder.path.stat().st_mtime


def _rounds(folder: RunFolder) -> int:
    """Return the number of rounds that have averages."""
    return len({row["round"] for row in read_metrics(folder.metrics) if row["site"] is None} - {None})


def _sites(folder: RunFolder) -> Iterator[str]:
    sites = folder.path / "sites"
    return (each.name for each in sorted(sites.iterdir())) if sites.is_dir() else iter(())
