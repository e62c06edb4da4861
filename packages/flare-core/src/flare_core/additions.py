"""What a recipe can be given besides its arguments: filters, components, settings, files, types that travel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core.code import calling_folder, with_files
from flare_core.components import Component
from flare_core.errors import JobError, RecipeError
from flare_core.filters import Filter
from flare_core.job import ALL_SITES, SERVER, ClientApp, FilterEntry, Job, ServerApp, check_name
from flare_core.job_folder import CLIENT_KEYS, SERVER_KEYS, misspelt
from flare_core.task import TaskName

__all__ = ["Additions", "checked_config", "copy_of"]


class Additions:
    """What every recipe can be given; kept in the order in which it comes, and added to each job that is made.

    ``clients`` names the sites that something is for; all, if it is left out. All methods raise :class:`RecipeError`
    for what is unusable.
    """

    def __init__(self) -> None:
        self._additions: list[Callable[[Job], None]] = []
        self._files: list[tuple[Path, tuple[str, ...] | None]] = []  # with the sites, or the server, for which they are
        self._component_ids: dict[str, set[str]] = {"persistor": {SERVER}}

    def add_client_input_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter tasks when they reach the sites.

        Args:
            filter: what changes the model.
            tasks: names of those that it is for; all, if left out.
            clients: names of the sites that it is for; all, if left out.
        """
        self._add_filter("task_data_filters", filter, tasks, _sites(clients))

    def add_client_output_filter(
        self, filter: Filter, tasks: Sequence[str] | None = None, clients: Sequence[str] | None = None
    ) -> None:
        """Filter results before they leave the sites.

        Args:
            filter: what changes the model.
            tasks: names of those that it is for; all, if left out.
            clients: names of the sites that it is for; all, if left out.
        """
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
            id: its name; each has one.
            component: an object, of which each run gets a copy, or ``{"class_path", "args"}``.
        """
        self._add_component(id, component, (SERVER,))

    def add_client_component(self, id: str, component: Any, clients: Sequence[str] | None = None) -> None:
        """Add an observer or a service at sites; see :meth:`add_server_component`.

        Args:
            id: its name; each has one.
            component: an object, of which each run gets a copy, or ``{"class_path", "args"}``.
            clients: names of the sites that get it; all, if left out.
        """
        self._add_component(id, component, _sites(clients))

    def add_client_config(self, config: Mapping[str, Any], clients: Sequence[str] | None = None) -> None:
        """Give sites settings, which scripts read with ``flare.get_config()``; they replace those of the same name."""
        self._add_config(config, _sites(clients), CLIENT_KEYS)

    def add_server_config(self, config: Mapping[str, Any]) -> None:
        """Give the server settings, which workflows read from ``fed.config``; else as :meth:`add_client_config`."""
        self._add_config(config, (SERVER,), SERVER_KEYS)

    def add_client_file(self, path: str | Path, clients: Sequence[str] | None = None) -> None:
        """Have a file travel to sites: a script finds it beside itself, or imports it if it is a module.

        With files added, scripts run from a copy of the job's code, in the simulator too. A file that is for all sites
        is at the server as well.

        Args:
            path: relative to the file that calls this.
        """
        self._add_file(path, _sites(clients))

    def add_server_file(self, path: str | Path) -> None:
        """Have a file travel to the server alone, where class paths can name what it holds; see also
        :meth:`add_client_file`."""
        self._add_file(path, (SERVER,))

    def add_decomposers(self, decomposers: Sequence[str | Any]) -> None:
        """Let more types travel, such as one of values in ``FLModel.meta``; the server and all scripts register them.

        Args:
            decomposers: each a dataclass, an Enum, or a function without arguments that calls
                ``flare_fobs.register``; or the class path of one. Its module must be part of the job's code, or
                installed everywhere.
        Raises:
            RecipeError: it is no list, or one has no class path, or one is defined in the launching script.
        """
        if isinstance(decomposers, str) or not isinstance(decomposers, Sequence):
            raise RecipeError(f"decomposers is {decomposers!r}; give a list of classes, functions or class paths")
        paths = [_import_path(each) for each in decomposers]
        self._additions.append(lambda job: job.meta.setdefault("decomposers", []).extend(paths))

    def _add_to(self, job: Job) -> None:
        """Add everything to a new job.

        Raises:
            RecipeError: two files have one name, or a filter is for a task that does not exist.
        """
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

        def add(job: Job) -> None:
            for app in _apps(job, sites):
                getattr(app, chain).append(entry)

        self._additions.append(add)

    def _add_component(self, id: str, component: Any, sites: tuple[str, ...] | None) -> None:
        if not isinstance(id, str) or not id:
            raise RecipeError(f"the id of a component is {id!r}; give a text")
        try:
            made = Component.of(component, what=f"the component {id!r}")
        except JobError as error:
            raise RecipeError(str(error)) from None
        have = self._component_ids.setdefault(id, set())
        wanted = {ALL_SITES} if sites is None else set(sites)
        if have & wanted or (wanted | have) - {SERVER} > {ALL_SITES}:
            where = "the server" if wanted == {SERVER} else f"a site ({', '.join(sorted(wanted))})"
            raise RecipeError(f"{where} has a component {id!r} already; use another id")
        have |= wanted

        def add(job: Job) -> None:
            for app in _apps(job, sites):
                app.components[id] = made

        self._additions.append(add)

    def _add_config(self, config: Mapping[str, Any], sites: tuple[str, ...] | None, reserved: set[str]) -> None:
        kept = checked_config(config, reserved)

        def add(job: Job) -> None:
            for app in _apps(job, sites):
                app.config.update(kept)

        self._additions.append(add)

    def _add_file(self, path: str | Path, sites: tuple[str, ...] | None) -> None:
        if not isinstance(path, str | Path):
            raise RecipeError(f"path is {path!r}; give the path of a file")
        found = (calling_folder() / Path(path).expanduser()).resolve()
        if not found.is_file():
            raise RecipeError(
                f"path is {str(path)!r}: there is no file {found}; a path is relative to its caller's folder"
            )
        self._files.append((found, sites))


def _check_tasks(job: Job) -> None:
    """Refuse filters that would never run, unless a workflow is the user's own, whose tasks are not known here."""
    if any(not each.class_path.startswith("flare_core.") or "task_name" in each.args for each in job.server.workflows):
        return
    known = {value for name, value in vars(TaskName).items() if not name.startswith("_")}
    apps: list[ServerApp | ClientApp] = [job.server, job.client, *job.sites.values()]
    for app in apps:
        for entry in (*app.task_data_filters, *app.task_result_filters):
            if unknown := sorted({*entry.tasks} - known - {"*"}):
                raise RecipeError(
                    f"a filter is for the task {unknown[0]!r}, which does not exist; the tasks of scripts are"
                    f" {TaskName.TRAIN!r}, {TaskName.VALIDATE!r} and {TaskName.SUBMIT_MODEL!r}"
                )


def checked_config(config: Any, reserved: set[str]) -> dict[str, Any]:
    """Return a copy of settings, as they would be read from a job's folder.

    Raises:
        RecipeError: they are not a dict, have no JSON form, or a name is one of the ``reserved`` or nearly one.
    """
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise RecipeError(f"config is {config!r}; give a dict of names and values")
    if taken := sorted(reserved & config.keys()):
        raise RecipeError(f"config has the name {taken[0]!r}, which is reserved in a job's folder; rename it")
    if slip := misspelt(config, reserved):
        raise RecipeError(f"config has the name {slip[0]!r}, too similar to {slip[1]!r}, which is reserved; rename it")
    try:
        kept: dict[str, Any] = json.loads(json.dumps(dict(config)))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"config is {config!r}, which has no JSON form ({error}); use plain values") from None
    return kept


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
        raise RecipeError(f"clients is the text {clients!r}; give a list of names")
    for site in clients or ():
        if site in (SERVER, ALL_SITES):
            raise RecipeError(f"clients names {site!r}, which is no site; leave clients out for all of them")
        try:
            check_name(site, what="a site in clients")
        except JobError as error:
            raise RecipeError(str(error)) from None
    return tuple(clients) if clients else None


def _apps(job: Job, sites: tuple[str, ...] | None) -> list[ServerApp] | list[ClientApp]:
    """The parts of a job that are meant: the server's, all sites' (None), or those of some, made if need be."""
    if sites == (SERVER,):
        return [job.server]
    if sites is None:
        return [job.client, *job.sites.values()]
    for site in sites:
        if site not in job.sites:
            job.sites[site] = copy_of(job.client)
    return [job.sites[site] for site in sites]


def copy_of(app: ClientApp) -> ClientApp:
    """A site's part that starts as the others' and can then differ."""
    return ClientApp(
        executors=list(app.executors),
        components=dict(app.components),
        task_data_filters=list(app.task_data_filters),
        task_result_filters=list(app.task_result_filters),
        config=dict(app.config),
        code=app.code,
    )


def _import_path(value: str | Any) -> str:
    path = value if isinstance(value, str) else f"{value.__module__}.{value.__qualname__}" if callable(value) else ""
    if "." not in path or not all(part.isidentifier() for part in path.split(".")):
        raise RecipeError(f"a decomposer is {value!r}; give a class, a function without arguments, or the path of one")
    if path.startswith("__main__."):
        raise RecipeError(
            f"{path.rpartition('.')[2]} is defined in the launching script, which is not part of the job; move it into"
            " a module of its own beside the script"
        )
    return path
