"""FedJob, a job that is put together part by part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flare_core import Job, Recipe
from flare_core.job_folder import export_job


class FedJob:
    """A job.

    Args:
        name: its name.
        min_clients: the number of sites that it needs.
        mandatory_clients: sites without which it does not run.
        meta_props: further entries of its meta.json.
    """

    def __init__(
        self,
        name: str = "fed_job",
        min_clients: int = 1,
        mandatory_clients: list[str] | None = None,
        meta_props: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.min_clients = min_clients
        self.mandatory_clients = mandatory_clients
        self.meta_props = meta_props
        self.clients: list[str] = []
        self.native: Recipe | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> FedJob:
        """Return the job of one of Flare's recipes."""
        job = cls(recipe.name, recipe.min_clients)
        job.native = recipe
        return job

    def flare_job(self) -> Job:
        """Return a new job in Flare's own form."""
        assert self.native is not None
        return self.native.job()

    @contextmanager
    def settings(self, server: dict[str, Any] | None, clients: dict[str, Any] | None) -> Iterator[None]:
        """Change the settings of the parties while the context lasts; None leaves them alone."""
        yield

    def export_job(self, job_root: str) -> None:
        """Write the job to a folder below ``job_root``."""
        export_job(self.flare_job(), Path(job_root))
