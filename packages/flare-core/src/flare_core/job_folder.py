"""Job folders of readable JSON and code, the format for exported, submitted and handwritten jobs.

    <root>/<job name>/meta.json                                name, min_clients, deploy_map, seed, …
    <root>/<job name>/app/config/config_fed_server.json        the server's app
    <root>/<job name>/app/config/config_fed_client.json        the app of every site that has none of its own
    <root>/<job name>/app/custom/…                             code and files
    <root>/<job name>/app_<site>/config/config_fed_client.json the app of one site
    <root>/<job name>/app_<site>/custom/…                      its code, if it differs from the job's

Strings are literal: values are never treated as templates, so braces, quotes and percent signs are safe.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core.components import Component
from flare_core.errors import JobError
from flare_core.job import (
    ALL_SITES,
    SERVER,
    ClientApp,
    CodeBundle,
    ExecutorEntry,
    FilterEntry,
    Job,
    ServerApp,
    check_name,
)

FORMAT_VERSION = 2
_META_KEYS = {"name", "min_clients", "deploy_map", "seed"}
_PLACE_KEYS = {"resource_spec", "mandatory_clients", "server_files"}
_RUN_KEYS = {"decomposers", "round_deadline_s", "reconnect_grace_s"}
"""Further keys of meta.json that Flare reads; all others are kept unchanged."""

_COMMON_KEYS = {"format_version", "components", "task_data_filters", "task_result_filters"}
CLIENT_KEYS = {*_COMMON_KEYS, "executors"}
SERVER_KEYS = {*_COMMON_KEYS, "workflows"}
"""Reserved keys of the apps' files; all others are settings."""


def export_job(job: Job, root: Path, *, checked: bool = True) -> Path:
    """Write ``job`` below ``root`` and return its folder, which replaces an older export of the job.

    Args:
        job: the job.
        root: the folder in which the job's is made.
        checked: compare each live object with one that is created from its description.
    Raises:
        JobError: a component or a setting has no JSON form, an entry of ``job.meta`` is wrong, or the folder exists
            and is not a job.
    """
    check_meta(job)
    folder = Path(root) / job.name
    if folder.exists():
        if not (folder / "meta.json").is_file():
            raise JobError(f"{folder} exists and is not a job folder; choose another one, nothing was changed")
        shutil.rmtree(folder)
    for place, content in _render(job, Component.to_json if checked else Component.description).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_as_json(content, place, indent=2) + "\n", encoding="utf-8")
    _copy_code(job.code, folder / "app" / "custom")
    for site, app in job.sites.items():
        if app.code is not None:
            _copy_code(app.code, folder / f"app_{site}" / "custom")
    return folder


def check_meta(job: Job) -> None:
    """Check that ``job.meta`` can be part of a ``meta.json``, also where a job runs without being written.

    Raises:
        JobError: a key is misspelt or belongs to the job's own fields, or a value has no JSON form; names it.
    """
    where = f"meta of the job {job.name!r}"
    _check_spelling(job.meta, _META_KEYS | _PLACE_KEYS | _RUN_KEYS, where)
    for key, value in job.meta.items():
        if key in _META_KEYS:
            raise JobError(f"{where}: {key!r} cannot be set there; it is written from the job itself")
        _as_json(value, f"{where}: {key!r}")


def load_job(folder: Path) -> Job:
    """Read a job folder.

    Raises:
        JobError: a file is missing, is not JSON or has an unexpected value; names the file and the key.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    apps = deployed_apps(folder)
    default = apps.get(ALL_SITES)
    main = apps.get(SERVER, default)
    if main is None:
        raise JobError(f'{folder / "meta.json"}: deploy_map has no app for the server; add ["@ALL"] or ["server"]')
    sites = {
        site: _client_app(folder / app, own_code=app != main)
        for site, app in apps.items()
        if site not in (SERVER, ALL_SITES)
    }
    more = {key: value for key, value in meta.items() if key not in _META_KEYS}
    if not more.get("resource_spec"):
        more.pop("resource_spec", None)
    try:
        return Job(
            name=meta["name"],
            min_clients=_count(meta, "min_clients", 1),
            server=_server_app(folder / main),
            client=_client_app(folder / default, own_code=default != main) if default else ClientApp(),
            sites=sites,
            code=_code(folder / main / "custom"),
            seed=_count(meta, "seed", 0),
            meta=more,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(f"{folder / 'meta.json'}: {error} is missing or has the wrong type") from error


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the ``meta.json`` of a job folder.

    Raises:
        JobError: it is missing, is not a JSON object, or has a misspelt key.
    """
    meta = _read(folder / "meta.json")
    _check_spelling(meta, _META_KEYS | _PLACE_KEYS | _RUN_KEYS, folder / "meta.json")
    return meta


def deployed_apps(folder: Path) -> dict[str, str]:
    """Return the apps of a job folder for the server, for individual sites, and for all other sites.

    Raises:
        JobError: ``deploy_map`` in ``meta.json`` has the wrong type, or assigns two apps to a site.
    """
    path = folder / "meta.json"
    deploy_map = read_meta(folder).get("deploy_map") or {"app": [ALL_SITES]}
    if not isinstance(deploy_map, dict) or not all(map(are_texts, deploy_map.values())):
        raise JobError(f"{path}: 'deploy_map' must be an object of lists of site names")
    apps: dict[str, str] = {}
    for app, names in deploy_map.items():
        check_name(app, what=f"an app in {path}")
        for site in names:
            if apps.setdefault(site, app) != app:
                raise JobError(f"{path}: deploy_map assigns both {apps[site]!r} and {app!r} to {site}")
    return apps


def misspelt(names: Iterable[str], known: Collection[str]) -> tuple[str, str] | None:
    """Return the first of ``names`` that resembles a ``known`` name without being one, and that name; else None."""
    for name in names:
        if name not in known and (near := get_close_matches(name.lower(), known, n=1, cutoff=0.85)):
            return name, near[0]
    return None


def _check_spelling(names: Iterable[str], known: Collection[str], where: object) -> None:
    if slip := misspelt(names, known):
        raise JobError(f"{where}: unknown key {slip[0]!r}; did you mean {slip[1]!r}?")


def _as_json(value: Any, where: str, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise JobError(f"{where} has no JSON form ({error}); use numbers, strings, lists and objects") from error


def _count(meta: Mapping[str, Any], key: str, least: int) -> int:
    value = meta.get(key, least)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"'{key}', {value!r},")
    return value


def _render(job: Job, describe: Callable[[Component], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {
        "meta.json": {
            "name": job.name,
            "resource_spec": {},  # a placeholder for the user
            "min_clients": job.min_clients,
            "deploy_map": {"app": [ALL_SITES], **{f"app_{site}": [site] for site in job.sites}},
            "seed": job.seed,
            **job.meta,
        },
        "app/config/config_fed_server.json": {
            "format_version": FORMAT_VERSION,
            "workflows": [
                {"id": f"workflow_{index}", **describe(workflow)} for index, workflow in enumerate(job.server.workflows)
            ],
            **_common_json(job.server, describe),
        },
    }
    for place, app in {"app": job.client, **{f"app_{site}": app for site, app in job.sites.items()}}.items():
        files[f"{place}/config/config_fed_client.json"] = {
            "format_version": FORMAT_VERSION,
            "executors": [
                {"tasks": list(entry.tasks), "executor": describe(entry.executor)} for entry in app.executors
            ],
            **_common_json(app, describe),
        }
    return files


def _common_json(app: ServerApp | ClientApp, describe: Callable[[Component], dict[str, Any]]) -> dict[str, Any]:
    def filters(entries: list[FilterEntry]) -> list[dict[str, Any]]:
        return [
            {"tasks": list(entry.tasks), "filters": [describe(each) for each in entry.filters]} for entry in entries
        ]

    return {
        "components": [{"id": name, **describe(component)} for name, component in app.components.items()],
        "task_data_filters": filters(app.task_data_filters),
        "task_result_filters": filters(app.task_result_filters),
        **app.config,
    }


def _copy_code(code: CodeBundle, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for place in (*code.files, *code.extra):
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(code.locate(str(place)), path)


def files_below(folder: Path) -> list[Path]:
    """Return the files of a job folder in order; none if the folder does not exist.

    Raises:
        JobError: one is a link that leads out of the folder, to a file that was not meant to be sent.
    """
    root = folder.resolve()
    found = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    for path in found:
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise JobError(f"{path} is a link that leads out of the job folder; replace it with a copy of the file")
    return found


def are_texts(values: Any) -> bool:
    """Return True if a value is a list of strings."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}; is its folder a job, as written by 'recipe.export(...)'?") from error
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise JobError(f"{path}: holds a {type(content).__name__} instead of an object")
    return content


def _server_app(folder: Path) -> ServerApp:
    path = folder / "config" / "config_fed_server.json"
    content = _read(path)
    _check_spelling(content, SERVER_KEYS, path)
    workflows = [_component(each, path, "workflows") for each in _entries(content, "workflows", path)]
    return ServerApp(workflows, **_common(content, path), config=_rest(content, SERVER_KEYS))


def _client_app(folder: Path, *, own_code: bool) -> ClientApp:
    path = folder / "config" / "config_fed_client.json"
    content = _read(path)
    _check_spelling(content, CLIENT_KEYS, path)
    executors = [
        ExecutorEntry(_tasks(each, path, "executors"), _component(each.get("executor"), path, "executors"))
        for each in _entries(content, "executors", path)
    ]
    has_code = own_code and (folder / "custom").is_dir()
    code = _code(folder / "custom") if has_code else None
    return ClientApp(executors, **_common(content, path), config=_rest(content, CLIENT_KEYS), code=code)


def _code(folder: Path) -> CodeBundle:
    files = [path.relative_to(folder) for path in files_below(folder)]
    return CodeBundle(folder.resolve(), tuple(PurePosixPath(path.as_posix()) for path in files))


def _common(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    def filters(key: str) -> list[FilterEntry]:
        return [
            FilterEntry(
                _tasks(each, path, key), tuple(_component(one, path, key) for one in _entries(each, "filters", path))
            )
            for each in _entries(content, key, path)
        ]

    return {
        "components": {
            str(each.get("id", index)): _component(each, path, "components")
            for index, each in enumerate(_entries(content, "components", path))
        },
        "task_data_filters": filters("task_data_filters"),
        "task_result_filters": filters("task_result_filters"),
    }


def _entries(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    entries = content.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise JobError(f"{path}: '{key}' must be a list of objects")
    return [each for each in entries if not each.get("disabled")]


def _tasks(entry: Mapping[str, Any], path: Path, key: str) -> tuple[str, ...]:
    if unknown := sorted(entry.keys() - {"tasks", "executor", "filters", "id", "disabled"}):
        raise JobError(f"{path}: an entry of '{key}' has the unknown key {unknown[0]!r}")
    tasks = entry.get("tasks", ["*"])
    if not are_texts(tasks):
        raise JobError(f"{path}: 'tasks' in '{key}' must be a list of task names")
    return tuple(tasks)


def _component(entry: Any, path: Path, key: str) -> Component:
    if not isinstance(entry, Mapping):
        raise JobError(f'{path}: an entry of \'{key}\' is not a component; write {{"path": ..., "args": ...}}')
    return Component.of(entry, what=f"{path}: an entry of '{key}'")


def _rest(content: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in known}
