"""A job that runs another one first, such as an intersection that finds the rows to train on."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from flare_core.additions import copy_of
from flare_core.code import with_files
from flare_core.errors import RecipeError
from flare_core.job import ClientApp, CodeBundle, Job, ServerApp

_App = TypeVar("_App", ServerApp, ClientApp)


def preceded_by(job: Job, first: Job) -> Job:
    """Return a job that runs the workflows of ``first``, and then its own, at the same sites and in the same folders.

    Args:
        job: the job; it is not changed.
        first: the other one, whose executors must name their tasks, since ``*`` would take those of ``job`` as well.
    Raises:
        RecipeError: an executor of ``first`` is for all tasks, or both jobs have a component or a file of one name.
    """
    for app in (first.client, *first.sites.values()):
        if any("*" in entry.tasks for entry in app.executors):
            raise RecipeError(f"the job {first.name!r} cannot run before another one: its executors are for all tasks")
    server = replace(job.server, workflows=[*first.server.workflows, *job.server.workflows])
    names = dict.fromkeys([*job.sites, *first.sites])
    return replace(
        job,
        min_clients=max(job.min_clients, first.min_clients),
        server=_merged(server, first.server),
        client=_with_executors(job.client, first.client),
        sites={site: _with_executors(job.client_app(site), first.client_app(site)) for site in names},
        code=_code(job, first),
        meta=first.meta | job.meta,
    )


def _with_executors(app: ClientApp, first: ClientApp) -> ClientApp:
    made = _merged(copy_of(app), first)
    made.executors = [*first.executors, *app.executors]
    return made


def _merged(app: _App, first: _App) -> _App:
    """Return an app with the components, filters and settings of another one as well."""
    if both := sorted(app.components.keys() & first.components.keys()):
        raise RecipeError(f"both jobs have a component {both[0]!r}; name it otherwise in one of them")
    return replace(
        app,
        components=first.components | app.components,
        task_data_filters=[*first.task_data_filters, *app.task_data_filters],
        task_result_filters=[*first.task_result_filters, *app.task_result_filters],
        config=first.config | app.config,
    )


def _code(job: Job, first: Job) -> CodeBundle:
    if not first.code.files:
        return job.code
    if job.code.root == first.code.root:
        return replace(job.code, files=tuple(dict.fromkeys([*job.code.files, *first.code.files])))
    return with_files(job.code, [first.code.locate(str(place)) for place in first.code.files])
