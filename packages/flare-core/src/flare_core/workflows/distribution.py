"""Distribution of models to the sites, as files in their folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from flare_core.model import FLModel
from flare_core.task import Sample, TaskName
from flare_core.workflow import TrainingFederation, Workflow


class Distribution(Workflow):
    """Send the global model, and the best one if there is one, to all connected sites.

    Each site stores them in its folder of the run, as ``global_model.safetensors`` and ``best_model.safetensors``.
    """

    def run(self, fed: TrainingFederation) -> None:
        models = {name: fed.load(name) for name in ("global", "best")}
        distribute(fed, {name: model for name, model in models.items() if model.params is not None})


def distribute(
    fed: TrainingFederation, models: Mapping[str, FLModel], search: Callable[[str, str], FLModel | None] | None = None
) -> None:
    """Send models to all connected sites, show a table of the files, and warn about sites that are missing.

    Args:
        fed: the federation.
        models: the models by name, which is part of the file names.
        search: called with the name of a model that no site could fetch, and the reason; returns the model from
            another source, or None if there is none.
    """
    rows: list[tuple[str, ...]] = []
    for name, model in models.items():
        given = _give(fed, name, model, rows)
        if given and search is not None and not any(row[0] == name for row in rows):
            found = search(name, next(iter(given.values())))
            given = given if found is None else _give(fed, name, found, rows)
        for site, lost in given.items():
            if lost:
                fed.warn(f"{site} could not fetch the {name} model: {lost}")
        if absent := [site for site in fed.sites if site not in given]:
            fed.warn(f"{', '.join(absent)} did not receive the {name} model: not connected when it was sent")
    fed.show("The models at the sites", ("model", "site", "file", "SHA-256"), rows)


def _give(fed: TrainingFederation, name: str, model: FLModel, rows: list[tuple[str, ...]]) -> dict[str, str]:
    """Send a model to all connected sites; return by site why it could not fetch the model, or an empty string."""
    task = replace(model, meta={**model.meta, "name": name})
    given = {}
    with fed.ask(TaskName.KEEP_MODEL, task, to=Sample(fed.sample(1), 0), result_stays=True) as conversation:
        for reply in conversation:
            given[reply.site] = reply.model.meta.get("lost", "")
            if not given[reply.site]:
                rows.append((name, reply.site, reply.model.meta["file"], reply.model.meta["digest"]))
    return given
