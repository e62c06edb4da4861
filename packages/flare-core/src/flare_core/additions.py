"""Additions to a recipe besides its arguments: filters, components, settings, files, serializable types."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core.code import calling_folder, with_files
from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.filters import Filter
from flare_core.job import ALL_SITES, SERVER, ClientApp, FilterEntry, Job, ServerApp, check_name
from flare_core.job_folder import CLIENT_KEYS, SERVER_KEYS, misspelt
from flare_core.task import TaskName


class Additions:
    """Methods that add to every job of a recipe, in the order of the calls.

    They apply to the sites that ``clients`` names, by default to all, and raise :class:`RecipeError` for unusable
    arguments.
    """

    def __init__(self) -> None:
        self._additions: list[Callable[[Job], None]] = []
        self._files: list[tuple[Path, tuple[str, ...] | None]] = []  # with their sites; None for all
        self._component_ids: dict[str, set[str]] = {"persistor": {SERVER}}

    def add_client_input_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter tasks when they reach the sites.

        Args:
            filter: the filter.
            tasks: names of the tasks that it applies to; all by default.
            clients: names of the sites that it applies to; all by default.
        """
        self._add_filter("task_data_filters", filter, tasks, _sites(clients))

    def add_client_output_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter results before they leave the sites; arguments as for :meth:`add_client_input_filter`."""
        self._add_filter("task_result_filters", filter, tasks, _sites(clients))

    def add_server_input_filter(self, filter: Filter, tasks: Sequence[str] | None = None) -> None:
        """Filter results when they reach the server."""
        self._add_filter("task_result_filters", filter, tasks, (SERVER,))

    def add_server_output_filter(self, filter: Filter, tasks: Sequence[str] | None = None) -> None:
        """Filter tasks before they leave the server."""
        self._add_filter("task_data_filters", filter, tasks, (SERVER,))

    def add_server_component(self, id: str, component: Any) -> None:
        """Add an :class:`~flare_core.Observer` or a :class:`~flare_core.Service` at the server.

        Args:
            id: a unique name.
            component: an object, of which each run gets a copy, or ``{"class_path", "args"}``.
        """
        self._add_component(id, component, (SERVER,))

    def add_client_component(self, id: str, component: Any, clients: Sequence[str] | None = None) -> None:
        """Add an observer or a service at the sites; ``id`` and ``component`` as for :meth:`add_server_component`."""
        self._add_component(id, component, _sites(clients))

    def add_client_config(self, config: Mapping[str, Any], clients: Sequence[str] | None = None) -> None:
        """Set values that the sites' scripts read with ``flare.get_config()``; later calls replace earlier values."""
        self._add_config(config, _sites(clients), CLIENT_KEYS)

    def add_server_config(self, config: Mapping[str, Any]) -> None:
        """Set values that workflows read from ``fed.config``; later calls replace earlier values."""
        self._add_config(config, (SERVER,), SERVER_KEYS)

    def add_client_file(self, path: str | Path, clients: Sequence[str] | None = None) -> None:
        """Send a file to the sites, next to their scripts, which can also import it if it is a module.

        Scripts then run from a copy of the job's code, in the simulator too. A file for all sites is also sent to the
        server.

        Args:
            path: the path, relative to the file that calls this.
        """
        self._add_file(path, _sites(clients))

    def add_server_file(self, path: str | Path) -> None:
        """Send a file to the server only, so that class paths can refer to it; see :meth:`add_client_file`."""
        self._add_file(path, (SERVER,))

    def add_decomposers(self, decomposers: Sequence[str | Any]) -> None:
        """Register more types for serialization at the server and the sites, such as for values in ``FLModel.meta``.

        Args:
            decomposers: dataclasses, Enums, or functions without arguments that call ``flare_fobs.register``; or their
                class paths. Their modules must be part of the job's code, or installed everywhere.
        Raises:
            RecipeError: it is not a list, or an entry has no class path, or is defined in the launching script.
        """
        if isinstance(decomposers, str) or not isinstance(decomposers, Sequence):
            raise RecipeError(f"decomposers is {decomposers!r}; give a list of classes, functions or class paths")
        paths = [_import_path(each) for each in decomposers]
        self._additions.append(lambda job: job.meta.setdefault("decomposers", []).extend(paths))

    def _add_to(self, job: Job) -> None:
        """Apply all additions to a new job."""
        for add in self._additions:
            add(job)
        _check_tasks(job)
        for path, sites in self._files:
            _add_file(job, path, sites)

    def _add_filter(
        self, chain: str, filter: Filter, tasks: Sequence[str] | None, sites: tuple[str, ...] | None
    ) -> None:
        if isinstance(filter, type):
            raise RecipeError(f"a filter is the class {filter.__name__} itself; give an object, {filter.__name__}(…)")
        if not isinstance(filter, Filter):
            raise RecipeError(f"a filter is a {type(filter).__name__}; give an object whose class derives from Filter")
        entry = FilterEntry(tuple(tasks or ("*",)), (Component.of(filter, what="a filter"),))
        self._add_to_apps(sites, lambda app: getattr(app, chain).append(entry))

    def _add_component(self, id: str, component: Any, sites: tuple[str, ...] | None) -> None:
        if not isinstance(id, str) or not id:
            raise RecipeError(f"the id of a component is {id!r}; give a string")
        try:
            made = Component.of(component, what=f"the component {id!r}")
        except JobError as error:
            raise RecipeError(str(error)) from None
        taken = self._component_ids.setdefault(id, set())
        wanted = {ALL_SITES} if sites is None else set(sites)
        if taken & wanted or (wanted | taken) - {SERVER} > {ALL_SITES}:
            where = "the server" if wanted == {SERVER} else f"a site ({', '.join(sorted(wanted))})"
            raise RecipeError(f"{where} already has a component {id!r}; use another id")
        taken |= wanted
        self._add_to_apps(sites, lambda app: app.components.update({id: made}))

    def _add_config(self, config: Mapping[str, Any], sites: tuple[str, ...] | None, reserved: set[str]) -> None:
        values = checked_config(config, reserved)
        self._add_to_apps(sites, lambda app: app.config.update(values))

    def _add_to_apps(self, sites: tuple[str, ...] | None, add: Callable[[ServerApp | ClientApp], None]) -> None:
        """Call ``add`` with the apps of ``sites`` in every job."""

        def add_to_all(job: Job) -> None:
            for app in _apps(job, sites):
                add(app)

        self._additions.append(add_to_all)

    def _add_file(self, path: str | Path, sites: tuple[str, ...] | None) -> None:
        if not isinstance(path, str | Path):
            raise RecipeError(f"path is {path!r}; give the path of a file")
        found = (calling_folder() / Path(path).expanduser()).resolve()
        if not found.is_file():
            raise RecipeError(f"path is {str(path)!r}: there is no file {found}; give a path relative to the caller")
        self._files.append((found, sites))


def _check_tasks(job: Job) -> None:
    """Reject filters that would never run, unless the job has a custom workflow, whose tasks are unknown."""
    if any(not each.class_path.startswith("flare_core.") for each in job.server.workflows):
        return
    known = {value for name, value in vars(TaskName).items() if not name.startswith("_")}
    apps: list[ServerApp | ClientApp] = [job.server, job.client, *job.sites.values()]
    for app in apps:
        for entry in (*app.task_data_filters, *app.task_result_filters):
            if unknown := sorted({*entry.tasks} - known - {"*"}):
                raise RecipeError(
                    f"a filter applies to the task {unknown[0]!r}, which does not exist; use 'train', 'validate' or"
                    " 'submit_model'"
                )


def checked_config(config: Any, reserved: set[str]) -> dict[str, Any]:
    """Return a copy of settings, as they would be read from a job folder.

    Raises:
        RecipeError: they are not a dict, have no JSON form, or a name equals or resembles one of the ``reserved``.
    """
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise RecipeError(f"config is {config!r}; give a dict of names and values")
    if taken := sorted(reserved & config.keys()):
        raise RecipeError(f"config has the name {taken[0]!r}, which is reserved in a job folder; rename it")
    if slip := misspelt(config, reserved):
        raise RecipeError(f"config has the name {slip[0]!r}, too similar to the reserved {slip[1]!r}; rename it")
    try:
        values: dict[str, Any] = json.loads(json.dumps(dict(config)))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"config is {config!r}, which has no JSON form ({error}); use plain values") from None
    return values


def _add_file(job: Job, path: Path, sites: tuple[str, ...] | None) -> None:
    if sites == (SERVER,):
        job.code = with_files(job.code, [path])
        job.meta["server_files"] = [*job.meta.get("server_files", ()), path.name]
        return
    only_server = [PurePosixPath(name) for name in job.meta.get("server_files", ())]
    if sites is None:
        job.code = with_files(job.code, [path])
    for app in _apps(job, sites):
        assert isinstance(app, ClientApp)
        if app.code is not None or sites is not None:
            app.code = with_files(app.code or job.code, [path], without=only_server)


def _sites(clients: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(clients, str):
        raise RecipeError(f"clients is the string {clients!r}; give a list of names")
    check_sites(clients or (), "clients")
    return tuple(clients) if clients else None


def check_sites(names: Iterable[str], argument: str) -> None:
    """Check that the ``names`` in an argument can be names of sites.

    Raises:
        RecipeError: a name is reserved or malformed.
    """
    for site in names:
        if site in (SERVER, ALL_SITES):
            raise RecipeError(f"{argument} has the reserved name {site!r}; use names of sites")
        try:
            check_name(site, what=f"a site in {argument}")
        except JobError as error:
            raise RecipeError(str(error)) from None


def _apps(job: Job, sites: tuple[str, ...] | None) -> list[ServerApp] | list[ClientApp]:
    """Return the apps of the server, of all sites (None) or of some sites, which are created if necessary."""
    if sites == (SERVER,):
        return [job.server]
    if sites is None:
        return [job.client, *job.sites.values()]
    for site in sites:
        if site not in job.sites:
            job.sites[site] = copy_of(job.client)
    return [job.sites[site] for site in sites]


def copy_of(app: ClientApp) -> ClientApp:
    """Return a copy of an app whose lists and dicts can be changed independently."""
    return ClientApp(**{each.name: copy.copy(getattr(app, each.name)) for each in fields(app)})


def _import_path(value: str | Any) -> str:
    path = value if isinstance(value, str) else f"{value.__module__}.{value.__qualname__}" if callable(value) else ""
    if "." not in path or not all(part.isidentifier() for part in path.split(".")):
        raise RecipeError(f"a decomposer is {value!r}; give a class, a function without arguments, or the path of one")
    if path.startswith("__main__."):
        raise RecipeError(
            f"{path.rpartition('.')[2]} is defined in the launching script, which is not part of the job; move it to a"
            " module of its own next to the script"
        )
    return path
