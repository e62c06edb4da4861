"""The folder of a run: the same in every environment.

<workspace>/<job name>/<run>/summary.json   outcome, rounds, best round, metrics, bytes, memory, sites, error
                             events.jsonl   one line an event, with its time and its round
                             metrics.jsonl  one line a (round, site or global, key, value)
                             log.txt        what the runtime has to say
                             server/        checkpoints
                             sites/<name>/  log.txt, and what the script writes to its working folder

<workspace>/local/<party>/   settings of a simulated site or of the server, which its owner would keep
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from flare_core import RecipeError

WORKSPACE_VARIABLE = "FLARE_WORKSPACE"


def default_workspace() -> Path:
    """Return the default folder for runs.

    That is ``$FLARE_WORKSPACE``, else ``flare-runs`` in the working folder, or in the user's cache if the working
    folder is not writable.
    """
    chosen = os.environ.get(WORKSPACE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    here = Path.cwd()
    if os.access(here, os.W_OK) and here != Path(here.anchor):
        return here / "flare-runs"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "flare" / "runs"


def local_folder(workspace: Path, party: str) -> Path:
    """Return the folder of a party's own settings in simulated runs, which need not exist."""
    return workspace / "local" / party


def make_stamped(parent: Path) -> Path:
    """Make a folder named after the time, such as ``20260102-101500``; concurrent callers get different ones.

    Raises:
        OSError: the folder cannot be made.
    """
    return _make_numbered(parent, _stamp())


def _stamp() -> str:
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


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
    """The paths of one run.

    Args:
        path: the run's folder.
        workspace: the workspace that contains it, if it is in one.
    """

    def __init__(self, path: Path, workspace: Path | None = None) -> None:
        self.path = path
        self.workspace = workspace
        self.log = path / "log.txt"
        self.summary = path / "summary.json"
        self.metrics = path / "metrics.jsonl"
        self.server = path / "server"

    @classmethod
    def create(cls, workspace: Path, job_name: str, name: str | None = None) -> RunFolder:
        """Make the folder of a new run.

        Args:
            workspace: the workspace.
            job_name: the job's name.
            name: the folder's name, to which a number is added if it is taken; by default the current time.
        Raises:
            RecipeError: the workspace is not writable; names it.
        """
        parent = workspace / job_name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _make_numbered(parent, name or _stamp())
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
        """Return the path of the safetensors file of the ``global`` or ``best`` model."""
        return self.server / f"{name}_model.safetensors"

    def places(self) -> dict[str, Any]:
        """Return the summary's entries for the folder and the models' paths, None for missing models."""
        kept = {name: self.checkpoint(name) for name in ("global", "best")}
        models = {f"{name}_model": str(path) if path.is_file() else None for name, path in kept.items()}
        return {**models, "folder": str(self.path)}

    def site(self, name: str) -> Path:
        """Return a site's working folder, which is created if necessary."""
        path = self.path / "sites" / name
        path.mkdir(exist_ok=True)
        return path
