"""Job folders of NVIDIA FLARE as jobs of Flare.

    <job>/meta.json                                      name, min_clients, deploy_map
    <job>/<app>/config/config_fed_server.json            workflows, components, filters
    <job>/<app>/config/config_fed_client.json            executors, components, filters
    <job>/<app>/custom/                                  code

Each file can be JSON, YAML or HOCON. A folder of one app alone is a job for all sites.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core import JobError, Observer, Service, Workflow
from flare_core.components import Component, import_class
from flare_core.job import ALL_SITES, SERVER, ClientApp, CodeBundle, ExecutorEntry, FilterEntry, Job, ServerApp
from flare_core.job_folder import files_below, load_job
from flare_runtime.job_code import importable
from nvflare._host.build import class_path_of, resolved
from nvflare._host.config_files import find_config, read_config
from nvflare._host.entries import LISTS, check_entries, entries_of
from nvflare._host.filter_events import tasks_of, with_events
from nvflare._host.native import move_cycle, swarm_job
from nvflare._host.recipe_jobs import check_runs_itself, recipe_job
from nvflare._host.scripts import is_connection, is_metric_forwarder, is_script_executor, script_executor

_NO_VARIABLES = {*LISTS, "format_version"}
_META = ("resource_spec", "mandatory_clients")


@dataclass(slots=True)
class AppConfig:
    """One side of an app: its configuration file and its code.

    Attributes:
        path: the file.
        content: what it says.
        code: the app's files.
    """

    path: Path
    content: dict[str, Any]
    code: CodeBundle
    variables: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = {key: value for key, value in self.content.items() if key not in _NO_VARIABLES}

    def entries(self, key: str) -> list[dict[str, Any]]:
        """Return the descriptions under a key that are not disabled.

        Raises:
            JobError: they are not a list of descriptions.
        """
        return entries_of(self.content, key, self.path)


def load_job_folder(folder: str | Path, *, name: str | None = None, more_meta: Mapping[str, Any] | None = None) -> Job:
    """Read a job folder, or the folder of one app.

    Args:
        folder: the folder.
        name: another name for the job.
        more_meta: entries for its parts to see beside those of meta.json.
    Raises:
        JobError: a file is missing or cannot be understood; names it and the key.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise JobError(f"there is no job folder {root}")
    meta, apps = _meta_of(root)
    default = apps.get(ALL_SITES)
    main = apps.get(SERVER, default)
    if main is None:
        raise JobError(f"{root}: no app of deploy_map is for the server; add 'server' or '@ALL'")
    server = _app(main, "config_fed_server")
    names = [site for site in apps if site not in (SERVER, ALL_SITES)]
    clients = {site: _app(apps[site], "config_fed_client") for site in names}
    general = None if default is None else _app(default, "config_fed_client")
    ours = {**meta, **(more_meta or {}), "name": name or str(meta.get("name") or root.name)}
    all_clients = [*([] if general is None else [general]), *clients.values()]
    for each in (server, *all_clients):
        forget_others(each.code)
    move_cycle(server, all_clients)
    with _all_importable(server, all_clients):
        if (swarm := swarm_job(server, all_clients, _safe(ours["name"]), _count(meta, root))) is not None:
            return swarm
        sites = ({} if general is None else {ALL_SITES: general}) | clients
        if (described := recipe_job(server, sites, _safe(ours["name"]), _count(meta, root))) is not None:
            described.meta |= {key: meta[key] for key in _META if meta.get(key)}
            return described
        return Job(
            name=_safe(ours["name"]),
            min_clients=_count(meta, root),
            server=_server_app(server, all_clients, ours),
            client=ClientApp() if general is None else _client_app(general, server, ours),
            sites={site: _client_app(each, server, ours) for site, each in clients.items()},
            code=server.code,
            meta={key: meta[key] for key in _META if meta.get(key)},
        )


def load_any_job(folder: str | Path, more_meta: Mapping[str, Any] | None = None) -> Job:
    """Read a job folder that Flare, NVIDIA FLARE or a person has written.

    Args:
        folder: the folder.
        more_meta: as for :func:`load_job_folder`.
    Raises:
        JobError: it cannot be understood.
    """
    try:
        job = load_job(Path(folder))
        with importable(job.code):
            is_flares = all(_is_workflow(each.class_path) for each in job.server.workflows)
    except JobError:
        is_flares = False
    return job if is_flares and job.server.workflows else load_job_folder(folder, more_meta=more_meta)


def _is_workflow(path: str) -> bool:
    cls = import_class(path)
    return inspect.isclass(cls) and issubclass(cls, Workflow)


def is_job_folder(folder: Path) -> bool:
    """Return True if a folder looks like a job, or like one app."""
    return find_config(folder, "meta") is not None or find_config(folder / "config", "config_fed_server") is not None


def _meta_of(root: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the meta data of a job, and the folder of the app of each site."""
    path = find_config(root, "meta")
    if path is None:
        if find_config(root / "config", "config_fed_server") is None:
            raise JobError(f"{root} is no job: it has neither meta.json nor config/config_fed_server.json")
        return {}, {ALL_SITES: root}
    meta = read_config(path)
    deploy_map = meta.get("deploy_map") or {"app": [ALL_SITES]}
    if not isinstance(deploy_map, Mapping):
        raise JobError(f"{path}: 'deploy_map' must be an object with the sites of each app")
    apps: dict[str, Path] = {}
    for app, entries in deploy_map.items():
        for site in _sites(entries, path):
            if apps.setdefault(site, root / app) != root / app:
                raise JobError(f"{path}: deploy_map assigns both {apps[site].name!r} and {app!r} to {site}")
        if not (root / app).is_dir():
            raise JobError(f"{path}: deploy_map names the app {app!r}, but {root / app} is no folder")
    return meta, apps


def _sites(entries: Any, path: Path) -> Iterable[str]:
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, Mapping):
            yield from _sites(entry.get("sites") or [], path)
        elif isinstance(entry, str):
            yield entry
        else:
            raise JobError(f"{path}: 'deploy_map' has {entry!r} where the name of a site belongs")


def _app(folder: Path, name: str) -> AppConfig:
    path = find_config(folder / "config", name)
    if path is None:
        raise JobError(f"{folder} has no config/{name}.json (nor .yml or .conf), which its part of the job needs")
    custom = (folder / "custom").resolve()
    files = [file.relative_to(custom) for file in files_below(custom) if "__pycache__" not in file.parts]
    content = read_config(path)
    check_entries(content, path)
    return AppConfig(path, content, CodeBundle(custom, tuple(PurePosixPath(each.as_posix()) for each in files)))


class _all_importable:
    """Makes the code of all apps importable while their classes are looked at."""

    def __init__(self, server: AppConfig, clients: list[AppConfig]) -> None:
        codes = {each.code.root: each.code for each in [server, *clients]}
        self._blocks = [importable(code) for code in codes.values()]

    def __enter__(self) -> None:
        for block in self._blocks:
            block.__enter__()

    def __exit__(self, *error: object) -> None:
        for block in reversed(self._blocks):
            block.__exit__(None, None, None)


def _server_app(app: AppConfig, clients: list[AppConfig], meta: dict[str, Any]) -> ServerApp:
    hosted, flares = _components(app)
    workflows = app.entries("workflows")
    if not workflows:
        raise JobError(f"{app.path}: there are no workflows, so the job has nothing to do")
    for entry in workflows:
        entry["path"] = _checked(entry, app)
    variables = {**app.variables, "server_form": _server_form(clients)}
    host = _host(
        "nvflare._host.server.ServerHost",
        components=hosted,
        workflows=workflows,
        variables=variables,
        meta=meta,
        filtered=_filtered(app),
    )
    return ServerApp(
        workflows=[
            Component(
                "nvflare._host.server.HostedWorkflow",
                {"index": index, "is_last": index == len(workflows) - 1, "key_metric": _key_metric(hosted)},
            )
            for index in range(len(workflows))
        ],
        components={"nvflare": host, **flares},
        task_data_filters=with_events(_filters(app, "task_data_filters")),
        task_result_filters=with_events(_filters(app, "task_result_filters")),
        config=app.variables,
    )


def _client_app(app: AppConfig, server: AppConfig, meta: dict[str, Any]) -> ClientApp:
    code = None if app.code.root == server.code.root else app.code
    all_components = {str(each.get("id", index)): each for index, each in enumerate(app.entries("components"))}
    hosted, flares = _components(app)
    executors: list[ExecutorEntry] = []
    peers: list[dict[str, Any]] = []
    for entry in app.entries("executors"):
        tasks, executor = entry.get("tasks") or ["*"], dict(entry.get("executor") or {})
        executor["path"] = _checked(executor, app)
        if is_script_executor(executor["path"]):
            made = script_executor(executor, all_components, app.variables, str(app.path))
        else:
            made = Component("nvflare._host.site.HostedExecutor", {"index": len(peers)})
            peers.append(executor)
        executors.append(ExecutorEntry(tuple(tasks), made))
    if not executors:
        raise JobError(f"{app.path}: there are no executors, so the sites have nothing to do")
    executors.sort(key=lambda entry: any("*" in task for task in entry.tasks))
    components = dict(flares)
    if hosted or peers:
        host = _host(
            "nvflare._host.site.SiteHost",
            components=hosted,
            executors=peers,
            variables=app.variables,
            meta=meta,
            filtered=_filtered(app),
        )
        components = {"nvflare": host, **flares}
    return ClientApp(
        executors=executors,
        components=components,
        task_data_filters=with_events(_filters(app, "task_data_filters")),
        task_result_filters=with_events(_filters(app, "task_result_filters")),
        config=app.variables,
        code=code,
    )


def _components(app: AppConfig) -> tuple[list[dict[str, Any]], dict[str, Component]]:
    """Return the components to host, and those that are Flare's own."""
    hosted: list[dict[str, Any]] = []
    flares: dict[str, Component] = {}
    for entry in app.entries("components"):
        path = _checked(entry, app)
        if is_connection(path) or is_metric_forwarder({**entry, "path": path}):
            continue
        if _is_flares(path):
            args = resolved(dict(entry.get("args") or {}), app.variables)
            flares[str(entry.get("id", len(flares)))] = Component(path, args)
        else:
            check_runs_itself(path, str(app.path))
            hosted.append({**entry, "path": path})
    return hosted, flares


def _is_flares(path: str) -> bool:
    """Return True for a component that Flare itself runs; those of the job's own code are hosted."""
    if path.partition(".")[0] != "nvflare" and not path.startswith("flare_"):
        return False
    cls = import_class(path)
    return inspect.isclass(cls) and issubclass(cls, Observer | Service)


def forget_others(code: CodeBundle) -> None:
    """Forget modules of other jobs that are called like those of this one: this process keeps what it has imported."""
    for place in code.files:
        if place.suffix != ".py":
            continue
        parts = place.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        file = getattr(sys.modules.get(name), "__file__", None)
        if not file or not Path(file).is_file() or name.partition(".")[0] in ("nvflare", "flare_core"):
            continue
        if Path(file).read_bytes() != code.locate(str(place)).read_bytes():
            del sys.modules[name]


def _filters(app: AppConfig, key: str) -> list[FilterEntry]:
    found = []
    for entry in app.entries(key):
        filters = []
        for each in entry.get("filters") or ():
            args = resolved(dict(each.get("args") or {}), app.variables)
            filters.append(Component(_checked(each, app), args))
        tasks = entry.get("tasks") or ["*"]
        found.append(FilterEntry(tuple(tasks), tuple(filters)))
    return found


def _filtered(app: AppConfig) -> dict[str, list[str]]:
    """Return the tasks that an app has filters for, by chain."""
    return {key: tasks_of(_filters(app, key)) for key in ("task_data_filters", "task_result_filters")}


def _key_metric(components: list[dict[str, Any]]) -> str | None:
    """Return the metric of the component that chooses the best model."""
    for each in components:
        if each["path"].endswith("IntimeModelSelector"):
            return str((each.get("args") or {}).get("key_metric", "val_accuracy"))
    return None


def _checked(entry: Mapping[str, Any], app: AppConfig) -> str:
    return str(resolved(class_path_of(entry, f"{app.path}: a component"), app.variables))


def _server_form(clients: list[AppConfig]) -> str:
    """Return the form of params at the server: tensors, the arrays of Keras' layers by name, or as they were sent."""
    for app in clients:
        for entry in app.entries("executors"):
            executor = entry.get("executor") or {}
            args = executor.get("args") or {}
            if str(args.get("server_expected_format", "")) == "pytorch":
                return "pytorch"
            path = str(executor.get("path", ""))
            if path.startswith("nvflare.app_opt.tf.") or args.get("params_exchange_format") == "keras_layer_weights":
                return "layers"
    return ""


def _host(path: str, **settings: Any) -> Component:
    """Return the component that holds others; their descriptions are text, since Flare would build them otherwise."""
    return Component(path, {"settings": json.dumps(settings)})


def _count(meta: Mapping[str, Any], root: Path) -> int:
    """Return how many sites a job needs.

    Raises:
        JobError: it is no number of sites.
    """
    value = meta.get("min_clients")
    if value is None:
        return 1
    count = int(value) if isinstance(value, str) and value.isdecimal() else value
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise JobError(f"{root}: 'min_clients' in meta is {value!r}; write the number of sites that must be there")
    return count


def _safe(name: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name).lstrip(".-") or "job"
