"""Job: a plain description of a run — components, code, files — that an environment can deploy.

How a job becomes a folder, and a folder a job, is in :mod:`flare_core.job_folder`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core.components import Component
from flare_core.errors import JobError

__all__ = ["ClientApp", "CodeBundle", "ExecutorEntry", "FilterEntry", "Job", "ServerApp"]

ALL_SITES = "@ALL"
SERVER = "server"


@dataclass(frozen=True, slots=True)
class FilterEntry:
    """Filters for some tasks.

    Attributes:
        tasks: their names; ``*`` stands for all.
        filters: in the order in which they run.
    """

    tasks: tuple[str, ...]
    filters: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class ExecutorEntry:
    """The executor for some tasks; ``*`` stands for all.

    Attributes:
        tasks: their names.
        executor: described by its class path and arguments.
    """

    tasks: tuple[str, ...]
    executor: Component


@dataclass(frozen=True, slots=True)
class CodeBundle:
    """The files that a job needs: scripts, the modules they import, small data beside them, initial weights.

    Args:
        root: the folder below which they lie; it is on the scripts' import path.
        files: their places below ``root``.
        extra: further files by their place in the bundle, from anywhere.
        owner: kept as long as the bundle is, such as what removes temporary files among ``extra``.
    """

    root: Path
    files: tuple[PurePosixPath, ...] = ()
    extra: dict[PurePosixPath, Path] = field(default_factory=dict)
    owner: Any = field(default=None, repr=False, compare=False)

    def locate(self, name: str) -> Path:
        """Return the path of a file of the bundle.

        Raises:
            JobError: the bundle has no such file, or the name leads out of it.
        """
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise JobError(f"the job names the file {name!r}, which leads out of its code folder")
        path = self.extra.get(place, self.root / place)
        if not path.is_file():
            raise JobError(f"the job's code has no file {name!r} (looked for {path})")
        return path


@dataclass(slots=True)
class ServerApp:
    """The server's part of a job.

    Attributes:
        workflows: run one after the other.
        components: what else there is, by id: ``persistor`` reads and writes models; observers and services.
        task_data_filters: for tasks that leave the server.
        task_result_filters: for results that reach it.
        config: what workflows find in ``fed.config``.
    """

    workflows: list[Component] = field(default_factory=list)
    components: dict[str, Component] = field(default_factory=dict)
    task_data_filters: list[FilterEntry] = field(default_factory=list)
    task_result_filters: list[FilterEntry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ClientApp:
    """A site's part of a job.

    Attributes:
        executors: who does which tasks; the last is for all that are left.
        components: observers and services, by id.
        task_data_filters: for tasks that reach the site.
        task_result_filters: for results that leave it.
        config: what the script finds with ``flare.get_config()``.
        code: the files that the site runs, if not the job's.
    """

    executors: list[ExecutorEntry] = field(default_factory=list)
    components: dict[str, Component] = field(default_factory=dict)
    task_data_filters: list[FilterEntry] = field(default_factory=list)
    task_result_filters: list[FilterEntry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    code: CodeBundle | None = None


@dataclass(slots=True)
class Job:
    """What to run: one part for the server, one for the sites, code for both.

    Args:
        name: letters, digits, ``-``, ``_`` and ``.``; names the run's folder.
        min_clients: how many sites the job needs at least.
        server: the server's part.
        client: the part of every site that has none of its own.
        sites: parts of single sites.
        code: files that travel with the job.
        seed: start of every random choice that Flare makes, and of the scripts' generators.
        meta: further entries of the folder's ``meta.json``.
    """

    name: str
    min_clients: int
    server: ServerApp
    client: ClientApp
    code: CodeBundle
    sites: dict[str, ClientApp] = field(default_factory=dict)
    seed: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name, what="a job's name")

    @property
    def preinstalled(self) -> tuple[str, ...]:
        """Scripts that do not travel with the job: their absolute paths at the sites."""
        scripts = [
            str(entry.executor.args.get("script", ""))
            for app in (self.client, *self.sites.values())
            for entry in app.executors
        ]
        return tuple(dict.fromkeys(script for script in scripts if PurePosixPath(script).is_absolute()))

    def client_app(self, site: str) -> ClientApp:
        """The part that ``site`` runs."""
        return self.sites.get(site, self.client)

    def client_code(self, site: str) -> CodeBundle:
        """The code that ``site`` runs."""
        return self.client_app(site).code or self.code


def check_name(name: str, *, what: str) -> None:
    """Refuse a name that cannot be a folder or an address.

    Raises:
        JobError: names the value and the rule.
    """
    allowed = isinstance(name, str) and name and name[0] not in ".-" and len(name) <= 100
    if not allowed or not all(character.isalnum() or character in "-_." for character in name):
        raise JobError(
            f"{what} is {name!r}; use up to 100 letters, digits, '-', '_' and '.', starting with neither a dot nor '-'"
        )
