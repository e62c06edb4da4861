"""WorkerPlan: the sites that a worker process serves, and their job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flare_core import Job
from flare_core.job_folder import load_job
from flare_transport import Cell

SERVER = "server"
_WRITTEN = ("index", "job_id", "sites", "log_config", "environment", "core", "lane", "cell", "server", "link_to")


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """The plan of one worker.

    Args:
        index: the worker's number, from 1.
        job: what is run.
        job_id: the run's id.
        sites: the sites that it serves.
        run_folder: the run's folder.
        log_config: a level's name, or a dict for ``logging.config``.
        local: by site, the folder of settings that its owner keeps.
        environment: variables to set before any script runs.
        core: the only processor core to use; None for all.
        lane: the lane on which it takes turns with other workers; None if it may always run.
        cell: the worker's own cell.
        server: the cell that gives the tasks.
        link_to: the cell at the other end of the worker's socket, if that is not the server: with it the worker ends.
        connect: connects the worker's cell to the server; None if ``link_to`` is the server.
    """

    index: int
    job: Job
    job_id: str
    sites: tuple[str, ...]
    run_folder: Path
    log_config: str | Mapping[str, Any]
    local: Mapping[str, Path]
    environment: dict[str, str] = field(default_factory=dict)
    core: int | None = None
    lane: int | None = None
    cell: str = ""
    server: str = SERVER
    link_to: str = SERVER
    connect: Callable[[Cell], None] | None = None

    def to_json(self, job_folder: Path) -> str:
        """Describe all of the plan but ``connect``, for :meth:`from_json`.

        Args:
            job_folder: where the job was exported.
        """
        values = {name: getattr(self, name) for name in _WRITTEN}
        values |= {"job": str(job_folder), "run_folder": str(self.run_folder)}
        values["local"] = {site: str(path) for site, path in self.local.items()}
        return json.dumps(values, default=dict)

    @classmethod
    def from_json(cls, text: str) -> WorkerPlan:
        """Read a plan in another process, with the job from its folder."""
        values = json.loads(text)
        job, run_folder = load_job(Path(values.pop("job"))), Path(values.pop("run_folder"))
        local = {site: Path(path) for site, path in values.pop("local").items()}
        return cls(**values | {"job": job, "run_folder": run_folder, "local": local, "sites": tuple(values["sites"])})

    @property
    def name(self) -> str:
        """The worker's cell."""
        return self.cell or f"worker-{self.index}"

    @property
    def code_roots(self) -> list[Path]:
        """The folders of the job's and the sites' own code."""
        apps = (self.job.client, *self.job.sites.values())
        return [self.job.code.root, *(app.code.root for app in apps if app.code is not None)]

    @property
    def turn_file(self) -> Path:
        """The file with the index of the site whose script runs, which is read if the worker dies."""
        return self.run_folder / ".workers" / f"{self.index}.turn"

    @property
    def crash_file(self) -> Path:
        """The file for the traceback of a fatal error in C code."""
        return self.run_folder / ".workers" / f"{self.index}.crash"

    def seed(self, site: str) -> int:
        """Return a site's seed, which is the same in every environment and process."""
        digest = hashlib.blake2b(f"{self.job.seed}/{site}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1
