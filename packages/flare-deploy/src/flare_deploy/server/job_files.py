"""The files of a job at the server that administrators can fetch: those of its run, and those that were submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def files_of_run(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and the paths of the files of a run."""
    for name, path in _files(folder):
        if not is_kept_for_restart(Path(name)):
            yield name, path


def files_of_job(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and the paths of the files of a job, without the modules that its process has compiled."""
    for name, path in _files(folder):
        if path.parent.name != "__pycache__":
            yield name, path


def is_kept_for_restart(path: Path) -> bool:
    """Return True for the checkpoints of a run, which are large and of no use outside the server."""
    is_checkpoint = path.name == "state.json" or path.name.startswith(("round-", "state-", "best-"))
    return path.parts[0] == "server" and is_checkpoint


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    root = folder.resolve()
    for path in sorted(folder.rglob("*")):
        is_inside = path.resolve().is_relative_to(root)  # a job's code may have left links there
        if path.is_file() and is_inside and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix(), path
