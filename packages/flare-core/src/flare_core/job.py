"""Job: a plain description of a run (components, code, files) that an environment can deploy.

:mod:`flare_core.job_folder` reads and writes jobs as folders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core.components import Component
from flare_core.errors import JobError

ALL_SITES = "@ALL"
SERVER = "server"


@dataclass(frozen=True, slots=True)
class FilterEntry:
    """The ``filters`` for some ``tasks`` (``*`` means all), in the order in which they run."""

    tasks: tuple[str, ...]
    filters: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class ExecutorEntry:
    """The ``executor`` for some ``tasks``; ``*`` means all."""

    tasks: tuple[str, ...]
    executor: Component


@dataclass(frozen=True, slots=True)
class CodeBundle:
    """The files that a job needs: scripts, the modules they import, small data next to them, initial weights.

    Args:
        root: the folder of the files; it is on the scripts' import path.
        files: paths relative to ``root``.
        extra: further files from anywhere, by their path in the bundle.
        owner: an object to keep alive with the bundle, such as one that deletes temporary files.
    """

    root: Path
    files: tuple[PurePosixPath, ...] = ()
    extra: dict[PurePosixPath, Path] = field(default_factory=dict)
    owner: Any = field(default=None, repr=False, compare=False)

    def locate(self, name: str) -> Path:
        """Return the path of a file of the bundle.

        Raises:
            JobError: the bundle has no such file, or the name leads outside of it.
        """
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise JobError(f"the job names the file {name!r}, which is outside of its code folder")
        path = self.extra.get(place, self.root / place)
        if not path.is_file():
            raise JobError(f"the job's code has no file {name!r} (looked for {path})")
        return path


@dataclass(slots=True)
class ServerApp:
    """The server's part of a job.

    Attributes:
        workflows: the workflows, in the order in which they run.
        components: observers and services by id, and the ``persistor``, which reads and writes models.
        task_data_filters: filters for tasks that leave the server.
        task_result_filters: filters for results that reach the server.
        config: the settings in ``fed.config``.
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
        executors: the executors; the first that matches a task executes it.
        components: observers and services by id.
        task_data_filters: filters for tasks that reach the site.
        task_result_filters: filters for results that leave the site.
        config: the settings that a script reads with ``flare.get_config()``.
        code: the files of the site, if they differ from the job's.
    """

    executors: list[ExecutorEntry] = field(default_factory=list)
    components: dict[str, Component] = field(default_factory=dict)
    task_data_filters: list[FilterEntry] = field(default_factory=list)
    task_result_filters: list[FilterEntry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    code: CodeBundle | None = None


@dataclass(slots=True)
class Job:
    """A job: one app for the server, one for the sites, and code for both.

    Args:
        name: the name of the run's folder: letters, digits, ``-``, ``_`` and ``.``.
        min_clients: minimum number of sites.
        server: the server's app.
        client: the app of every site that has none in ``sites``.
        sites: apps of individual sites.
        code: the files of the job.
        seed: seeds every random choice of Flare, and the scripts' generators.
        meta: further entries of ``meta.json``.
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
        """The absolute paths of scripts that are installed at the sites instead of travelling with the job."""
        scripts = [
            str(entry.executor.args.get("script", ""))
            for app in (self.client, *self.sites.values())
            for entry in app.executors
        ]
        return tuple(dict.fromkeys(script for script in scripts if PurePosixPath(script).is_absolute()))

    def client_app(self, site: str) -> ClientApp:
        """Return the app of ``site``."""
        return self.sites.get(site, self.client)

    def client_code(self, site: str) -> CodeBundle:
        """Return the code of ``site``."""
        return self.client_app(site).code or self.code


def check_name(name: str, *, what: str) -> None:
    """Check that a name can serve as a folder and an address.

    Raises:
        JobError: it cannot; names the value and the rule.
    """
    allowed = isinstance(name, str) and name and name[0] not in ".-" and len(name) <= 100
    if not allowed or not all(character.isalnum() or character in "-_." for character in name):
        raise JobError(
            f"{what} is {name!r}; use up to 100 letters, digits, '-', '_' and '.', not starting with '.' or '-'"
        )
