"""The folder of a run: the same in every environment.

<workspace>/<job name>/<run>/summary.json   outcome, rounds, best round, metrics, bytes, memory, sites, error
                             events.jsonl   one line an event, with its time and its round
                             metrics.jsonl  one line a (round, site or global, key, value)
                             log.txt        what the runtime has to say
                             server/        checkpoints
                             sites/<name>/  log.txt, and what the script writes to its working folder
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from flare_core import RecipeError

__all__ = ["RunFolder", "default_workspace", "make_stamped"]

WORKSPACE_VARIABLE = "FLARE_WORKSPACE"


def default_workspace() -> Path:
    """Where runs are kept if nothing is said: ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder, else,
    where that cannot be written, the user's cache."""
    chosen = os.environ.get(WORKSPACE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    if os.access(here, os.W_OK) and here != Path(here.anchor):
        return here / "flare-runs"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "flare" / "runs"


def make_stamped(parent: Path) -> Path:
    """Make a folder named for the time, such as ``20260102-101500``; however many ask at once, each gets its own.

    Raises:
        OSError: it cannot be made.
    """
    return _make_numbered(parent, datetime.now().astimezone().strftime("%Y%m%d-%H%M%S"))


def _make_numbered(parent: Path, name: str) -> Path:
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


class RunFolder:
    """Paths of one run.

    Args:
        path: the folder.
        workspace: the folder of this run and others, if it is in one.
    """

    def __init__(self, path: Path, workspace: Path | None = None) -> None:
        self.path = path
        self.workspace = workspace
        self.log = path / "log.txt"
        self.summary = path / "summary.json"
        self.metrics = path / "metrics.jsonl"
        self.server = path / "server"

    @classmethod
    def create(cls, workspace: Path, job_name: str) -> RunFolder:
        """Make the folder of a new run, named for the time at which it starts.

        Raises:
            RecipeError: the workspace cannot be written; names it.
        """
        return cls._made(workspace, job_name, make_stamped)

    @classmethod
    def create_as(cls, workspace: Path, job_name: str, name: str) -> RunFolder:
        """Make the folder for a run that has a name already, or its name and a number if another run has that folder.

        Raises:
            RecipeError: the workspace cannot be written; names it.
        """
        return cls._made(workspace, job_name, lambda parent: _make_numbered(parent, name))

    @classmethod
    def _made(cls, workspace: Path, job_name: str, make: Callable[[Path], Path]) -> RunFolder:
        parent = workspace / job_name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = make(parent)
        except FileExistsError:
            raise RecipeError(f"{parent} is in the way of the run's folder; choose another workspace_root") from None
        except OSError as error:
            raise RecipeError(f"the workspace {workspace} cannot be written: {error}; give workspace_root") from error
        folder = cls(path, workspace)
        folder.server.mkdir()
        (path / "sites").mkdir()
        return folder

    @property
    def run_id(self) -> str:
        """The run's name within its job."""
        return self.path.name

    def checkpoint(self, name: str) -> Path:
        """The safetensors file of the ``global`` or ``best`` model."""
        return self.server / f"{name}_model.safetensors"

    def places(self) -> dict[str, Any]:
        """The entries of a summary that say where things are: the models, None for those that are not there, and the
        folder."""
        kept = {name: self.checkpoint(name) for name in ("global", "best")}
        models = {f"{name}_model": str(path) if path.is_file() else None for name, path in kept.items()}
        return {**models, "folder": str(self.path)}

    def site(self, name: str) -> Path:
        """A site's working folder; made when it is asked for."""
        path = self.path / "sites" / name
        path.mkdir(exist_ok=True)
        return path
