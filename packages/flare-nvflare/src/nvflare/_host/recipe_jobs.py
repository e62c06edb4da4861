"""Job folders whose parts describe a recipe of Flare's: trees, statistics and intersections of ids."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flare_core import FlareError, Job, JobError
from flare_core.components import Component, import_class
from flare_core.job import ALL_SITES, SERVER, ClientApp
from nvflare._flare.parts import Parts
from nvflare._host.build import build_component, class_path_of, resolved
from nvflare._host.scripts import is_connection, is_metric_forwarder

if TYPE_CHECKING:
    from nvflare._host.jobs import AppConfig


def recipe_job(server: AppConfig, sites: Mapping[str, AppConfig], name: str, min_clients: int) -> Job | None:
    """Return the job of a recipe; None if the executors are of other kinds.

    Args:
        server: the server's configuration.
        sites: those of the sites, and of all others as ``@ALL``.
        name: the job's name.
        min_clients: how many sites it needs.
    Raises:
        JobError: a part is missing, or cannot be part of the recipe.
    """
    if not any(_describes(str(path)) for app in sites.values() for path in _executor_paths(app)):
        return None
    from nvflare._flare.native import add_parts
    from nvflare._flare.recipe_parts import as_recipe, other_parts

    parties = {SERVER: _parts(server, is_server=True)} | {site: _parts(app) for site, app in sites.items()}
    try:
        found = as_recipe(name, max(min_clients, _asked_for(parties)), parties)
        if found is None:
            return None
        job: Job = found[0].job()
        parts = other_parts(parties)
        everywhere = parts.pop(ALL_SITES, None)
        own = {site: job.sites.pop(site) for site in sites if site in job.sites}  # the app of all others is not theirs
        if everywhere is not None:
            add_parts(job, {ALL_SITES: everywhere})
        job.sites |= own
        add_parts(job, parts)
    except JobError:
        raise
    except FlareError as error:
        raise JobError(f"{server.path}: {error}") from error
    job.code = server.code
    for site, app in sites.items():
        client = job.client if site == ALL_SITES else job.sites[site]
        client.code = None if app.code.root == server.code.root else app.code
    if ALL_SITES not in sites:
        job.client = ClientApp()
    return job


def check_runs_itself(path: str, where: str) -> None:
    """Check that a component, in a job of parts that run themselves, is no part of a recipe.

    Args:
        path: its class path.
        where: the configuration file.
    Raises:
        JobError: it is.
    """
    from nvflare._flare.recipe_parts import RecipeController, RecipePart

    if path.startswith("nvflare.") and _is_a(path, (RecipePart, RecipeController)):
        raise JobError(
            f"{where}: {path} only describes a part of a recipe, and the sites have other executors; give them the"
            " executor that belongs to it (FedXGBTreeExecutor, FedXGBHistogramExecutor, StatisticsExecutor or"
            " PSIExecutor), or write a persistor and an aggregator of your own"
        )


def _describes(path: str) -> bool:
    """Return True if a class path is that of an executor that describes what the sites do."""
    from nvflare._flare.recipe_parts import RecipeExecutor

    return path.startswith("nvflare.") and _is_a(path, RecipeExecutor)


def _is_a(path: str, kinds: Any) -> bool:
    cls = import_class(path)
    return inspect.isclass(cls) and issubclass(cls, kinds)


def _executor_paths(app: AppConfig) -> list[str]:
    return [
        resolved(class_path_of(each.get("executor") or {}, f"{app.path}: an executor"), app.variables)
        for each in app.entries("executors")
    ]


def _parts(app: AppConfig, *, is_server: bool = False) -> Parts:
    """Return the parts of an app: those of this package as objects, the others as descriptions."""
    parts = Parts(settings=dict(app.variables))
    for index, entry in enumerate(app.entries("workflows") if is_server else ()):
        parts.workflows[str(entry.get("id", index))] = _part(entry, app)
    for entry in app.entries("executors") if not is_server else ():
        parts.executors.append((list(entry.get("tasks") or ["*"]), _part(entry.get("executor") or {}, app)))
    for index, entry in enumerate(app.entries("components")):
        path = class_path_of(entry, f"{app.path}: a component")
        if not is_connection(path) and not is_metric_forwarder({**entry, "path": path}):
            parts.components[str(entry.get("id", index))] = _part(entry, app)
    for key in ("task_data_filters", "task_result_filters"):
        for entry in app.entries(key):
            chain = [(list(entry.get("tasks") or ["*"]), _part(each, app)) for each in entry.get("filters") or ()]
            getattr(parts, key).extend(chain)
    config = app.path.parent
    parts.files = [(str(each), None, "config") for each in sorted(config.iterdir()) if each.is_file()]
    return parts


def _part(entry: Mapping[str, Any], app: AppConfig) -> Any:
    path = resolved(class_path_of(entry, f"{app.path}: a component"), app.variables)
    if path.startswith("nvflare."):
        try:
            return build_component({**entry, "path": path}, app.variables)
        except JobError as error:
            raise JobError(f"{app.path}: {error}") from error
    return Component(path, resolved(dict(entry.get("args") or {}), app.variables))


def _asked_for(parties: Mapping[str, Parts]) -> int:
    """Return the number of sites that a workflow asks for, if it does."""
    numbers = [getattr(each, "min_clients", None) for each in parties[SERVER].workflows.values()]
    return max((each for each in numbers if isinstance(each, int)), default=1)
