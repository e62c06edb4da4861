"""Runs that a workspace holds: found by their folders, whatever environment they ran in, and after they were moved."""

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

__all__ = ["RecordedRun", "find_run", "list_runs"]

UNFINISHED = "unfinished"
"""The status of a run without a summary: it goes on, or its process was killed."""

_OTHERS = ("log.txt", "metrics.jsonl", "server")  # what the folder of a run holds from its start


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What is recorded of a run.

    Attributes:
        id: the name of its job and of its folder, as ``hello-pt/20260102-101500``.
        job: the job's name.
        folder: where it is now.
        status: ``finished``, ``failed`` or ``aborted``; ``unfinished`` if it goes on, or its process was killed.
        started: when it began, in seconds of the epoch.
        seconds: how long it took; None if it has not ended.
        rounds: how many were completed.
        sites: the names of its sites.
        key_metric: the metric that its models are compared by, or the first that it has; None if it has none.
        best: ``round`` and ``value`` of the best model; None if none was chosen.
        metrics: the averages of the last round, by name.
        recipe: ``class``, ``arguments``, ``added`` and ``code``, as in ``summary.json``; empty if not recorded.
        error: what ended it, if it did not finish.
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
        """The checkpoints that it has kept, ``global`` and ``best``, by name."""
        kept = {name: RunFolder(self.folder).checkpoint(name) for name in ("global", "best")}
        return {name: path for name, path in kept.items() if path.is_file()}

    def curves(self) -> dict[str, dict[int, float]]:
        """The averages over the sites by metric and round, of what is a finite number; of a round that was recorded
        more than once, the last."""
        found: dict[str, dict[int, float]] = {}
        for row in read_metrics(RunFolder(self.folder).metrics):
            value = number_of(row["value"])
            is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if row["site"] is None and row["round"] is not None and is_number:
                found.setdefault(row["key"], {})[row["round"]] = float(value)
        return found


def list_runs(workspace: str | Path | None = None) -> list[RecordedRun]:
    """Return the runs of a workspace, the newest first.

    Args:
        workspace: ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder, if left out.
    """
    root = default_workspace() if workspace is None else Path(workspace).expanduser().absolute()
    found = [_read(path) for path in root.glob("*/*") if _is_run(path)]
    return sorted(found, key=lambda run: (run.started, run.id), reverse=True)


def find_run(name: str, runs: Sequence[RecordedRun]) -> RecordedRun:
    """Return the run that somebody means.

    Args:
        name: the folder of a run, its id or the last part of it, or the name of a job, which is its newest run.
        runs: of the workspace, the newest first.
    Raises:
        FlareError: there is no such run, or more than one.
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
    except (KeyError, TypeError, ValueError):  # of a run that has not ended, or of an earlier version
        ended = (folder.summary if folder.summary.is_file() else folder.path).stat().st_mtime
        return ended - float(summary.get("seconds") or 0.0)


def _rounds(folder: RunFolder) -> int:
    """How many rounds have averages by now."""
    return len({row["round"] for row in read_metrics(folder.metrics) if row["site"] is None} - {None})


def _sites(folder: RunFolder) -> Iterator[str]:
    sites = folder.path / "sites"
    return (each.name for each in sorted(sites.iterdir())) if sites.is_dir() else iter(())
