"""The parts of a job, by the party that they are for, and the job folder that they become."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from flare_core import JobError
from flare_core.code import collect_code
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.describe import describe, is_ours, module_of
from nvflare._flare.job_form import AppForm, JobForm


@dataclass(slots=True)
class Parts:
    """The parts of a job that one party has, or all sites; attributes hold live objects."""

    workflows: dict[str, Any] = field(default_factory=dict)
    executors: list[tuple[list[str], Any]] = field(default_factory=list)
    components: dict[str, Any] = field(default_factory=dict)
    task_data_filters: list[tuple[list[str], Any]] = field(default_factory=list)
    task_result_filters: list[tuple[list[str], Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    scripts: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    files: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, folder, "config" or "custom"
    _ids: set[str] = field(default_factory=set)

    def new_id(self, wanted: str) -> str:
        """Return an id that no other part has: ``wanted``, or that with a number."""
        name, number = wanted, 1
        while name in self._ids:
            name, number = f"{wanted}{number}", number + 1
        self._ids.add(name)
        return name

    def add_component(self, component: Any, wanted: str) -> str:
        """Add a component, unless it has been added, and return its id."""
        for name, other in self.components.items():
            if other is component:
                return name
        name = self.new_id(wanted)
        self.components[name] = component
        return name

    def add_resource(self, path: str) -> None:
        """Add a script, any other file, or a folder.

        Raises:
            JobError: it does not exist; an absolute path may be that of a script that is installed at the sites.
        """
        if Path(path).is_dir():
            self.folders.append(path)
        elif Path(path).is_file() or Path(path).is_absolute():
            self.scripts.append(path)
        else:
            raise JobError(f"{path!r} is neither a file nor a folder; give a path relative to the working directory")


def form_of(meta: Mapping[str, Any], parties: Mapping[str, Parts]) -> JobForm:
    """Return the job folder of the parts of all parties.

    If there are parts for all sites, there is one app for everybody, else one for each party.

    Args:
        meta: entries of meta.json other than the deployment map.
        parties: the parts by party.
    Raises:
        JobError: there are no parts for the server, or an object has no JSON form.
    """
    if SERVER not in parties:
        raise JobError("the job has nothing for the server; add a controller with job.to_server(...)")
    if ALL_SITES in parties:
        groups = {"app": (parties[SERVER], parties[ALL_SITES], [ALL_SITES])}
        if named := sorted(set(parties) - {SERVER, ALL_SITES}):
            raise JobError(
                f"the job has parts for all sites, and others for {named[0]}; add those for all sites to each by name"
            )
    else:
        groups = {
            f"app_{party}": ((parts, None) if party == SERVER else (None, parts)) + ([party],)  # type: ignore[misc]  # both are optional
            for party, parts in parties.items()
        }
    form = JobForm({**meta, "deploy_map": {name: sites for name, (_, _, sites) in groups.items()}})
    for name, (server, client, _) in groups.items():
        form.apps[name] = app = AppForm()
        if server is not None:
            app.server = _described(server, app, is_server=True)
        if client is not None:
            app.client = _described(client, app, is_server=False)
    return form


def _described(parts: Parts, app: AppForm, *, is_server: bool) -> dict[str, Any]:
    """Return the content of a configuration file, and add the files that it needs to the app."""

    def visit(cls: type) -> None:
        if not is_ours(cls):
            app.files.update(code_of(cls))

    main: dict[str, Any]
    if is_server:
        main = {"workflows": [{"id": name, **describe(each, visit)} for name, each in parts.workflows.items()]}
    else:
        main = {"executors": [{"tasks": tasks, "executor": describe(each, visit)} for tasks, each in parts.executors]}
    content = {
        "format_version": 2,
        **main,
        "components": [{"id": name, **describe(each, visit)} for name, each in parts.components.items()],
        "task_data_filters": _filters(parts.task_data_filters, visit),
        "task_result_filters": _filters(parts.task_result_filters, visit),
        **parts.settings,
    }
    add_files(parts, app)
    return content


def _filters(entries: Sequence[tuple[list[str], Any]], visit: Any) -> list[dict[str, Any]]:
    """Return the entries of a chain, with neighbours for the same tasks in one."""
    found: list[dict[str, Any]] = []
    for tasks, each in entries:
        if not found or found[-1]["tasks"] != tasks:
            found.append({"tasks": tasks, "filters": []})
        found[-1]["filters"].append(describe(each, visit))
    return found


def code_of(cls: type) -> dict[PurePosixPath, Path]:
    """Return the module of a class and what it imports beside it, unless it is an installed package."""
    file = Path(inspect.getfile(cls)).resolve()
    if "site-packages" in file.parts:
        return {}
    module = module_of(cls)
    root = file.parents[module.count(".")]
    if file.name == "__init__.py":
        root = root.parent
    bundle = collect_code([file], root)
    return {place: bundle.root / place for place in bundle.files if place.suffix == ".py"}


def add_files(parts: Parts, app: AppForm) -> None:
    """Add the files of some parts to an app: scripts with the modules that they import, folders and other files."""
    for script in parts.scripts:
        path = Path(script)
        if not path.is_file():
            continue  # installed at the sites
        place = PurePosixPath(place_of(path))
        root = path.resolve()
        for _ in place.parts:
            root = root.parent
        app.files[place] = path.resolve()
        if path.suffix == ".py":
            bundle = collect_code([path.resolve()], root)
            app.files.update({each: bundle.root / each for each in bundle.files})
    for folder in parts.folders:
        for each in sorted(Path(folder).rglob("*")):
            if each.is_file() and "__pycache__" not in each.parts:
                app.files[PurePosixPath(each.relative_to(folder).as_posix())] = each.resolve()
    for source, folder_, kind in parts.files:
        target = app.others if kind == "config" else app.files
        base = PurePosixPath("config" if kind == "config" else "") / (folder_ or "")
        path = Path(source)
        if path.is_file():
            target[base / path.name] = path.resolve()
        for each in sorted(path.rglob("*")) if path.is_dir() else ():
            if each.is_file():
                target[base / each.relative_to(path).as_posix()] = each.resolve()


def place_of(path: Path) -> str:
    """Return a script's path within ``custom``: as it was given, or relative to the import path that it is on."""
    if not path.is_absolute() and ".." not in path.parts:
        return path.as_posix()
    known = [Path(each).resolve() for each in sys.path if each and path.resolve().is_relative_to(Path(each).resolve())]
    root = max(known, key=lambda each: len(each.parts), default=path.resolve().parent)
    return path.resolve().relative_to(root).as_posix()
