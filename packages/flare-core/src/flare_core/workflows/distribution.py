"""Giving models to the sites, as files in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flare_core.model import FLModel
from flare_core.task import TaskName
from flare_core.workflow import Federation, Sample, Workflow

__all__ = ["Distribution", "distribute"]


class Distribution(Workflow):
    """Give the global model and the best one, if there is one, to all sites that are there.

    Each site finds ``global_model.safetensors`` and ``best_model.safetensors`` in its folder of the run.
    """

    def run(self, fed: Federation) -> None:
        models = {name: fed.load(name) for name in ("global", "best")}
        distribute(fed, {name: model for name, model in models.items() if model.params is not None})


def distribute(fed: Federation, models: Mapping[str, FLModel]) -> None:
    """Give models to all sites that are there, and show who has what; a site that leaves meanwhile is named."""
    rows = []
    for name, model in models.items():
        there = fed.sample(1)
        task = replace(model, meta={**model.meta, "name": name})
        given = set()
        for reply in fed.broadcast(TaskName.KEEP_MODEL, task, to=Sample(there, 0), result_stays=True):
            if lost := reply.model.meta.get("lost"):
                fed.warn(f"{reply.site} could not fetch the {name} model: {lost}")
            else:
                rows.append((name, reply.site, reply.model.meta["file"], reply.model.meta["digest"]))
            given.add(reply.site)
        if absent := [site for site in fed.sites if site not in given]:
            fed.warn(f"{', '.join(absent)} did not get the {name} model: not there when it was given out")
    fed.show("The models at the sites", ("model", "site", "file", "SHA-256"), rows)
