"""Jobs whose parts intersect the ids of sites, which become recipes of flare_psi."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flare_psi
from flare_core import Job, Recipe, RecipeError
from flare_core.components import Component
from flare_core.job import ALL_SITES
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts
from nvflare._flare.recipe_parts import (
    RecipeController,
    RecipeExecutor,
    RecipePart,
    component_of,
    executors_of,
    workflow_of,
)


class PSIPart(RecipePart):
    """A part of a job that intersects ids."""


class IntersectingController(RecipeController):
    """A workflow that intersects ids."""


class IntersectingExecutor(RecipeExecutor):
    """An executor that intersects ids; it names a handler, which names what supplies the ids."""

    psi_algo_id: str

    @classmethod
    def recipe(cls, name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs]:
        workflow = workflow_of(parties)
        if not isinstance(workflow, IntersectingController):
            raise RecipeError(f"the workflow is a {type(workflow).__name__}; PSIExecutor needs a DhPSIController")
        sites = {party: _ids_and_path(party, parts, each) for party, parts, each in executors_of(parties, cls)}
        local, output = sites.get(ALL_SITES) or next(iter(sites.values()))
        own = {site: each for site, each in sites.items() if site != ALL_SITES}
        recipe = SitesPSI(
            name=name,
            min_clients=max(2, min_clients, len(own)),
            local_psi=local,
            output_path=output,
            sites=own,
        )
        return recipe, Outputs()


@dataclass(kw_only=True, eq=False, repr=False)
class SitesPSI(flare_psi.PSIRecipe):
    """An intersection of ids that each site reads in its own way.

    Args:
        sites: by the name of a site, what supplies its ids, and the path of the common ids there.
    """

    sites: Mapping[str, tuple[Any, str]]

    def build(self) -> Job:
        job = super().build()
        for site, (local, output) in self.sites.items():
            other = flare_psi.PSIRecipe(
                name=self.name, min_clients=self.min_clients, local_psi=local, output_path=output
            )
            job.sites[site] = other.build().client
        return job


def _ids_and_path(party: str, parts: Parts, executor: Any) -> tuple[Any, str]:
    """Return what supplies the ids of a site, and the path of the common ids."""
    handler = component_of(party, parts, executor.psi_algo_id, "to compute with")
    local = component_of(party, parts, getattr(handler, "local_psi_id", ""), "to supply the ids")
    given = local.args if isinstance(local, Component) else vars(local)
    writer = component_of(party, parts, str(given.get("psi_writer_id", "psi_writer")), "to write the ids")
    path = getattr(writer, "output_path", None)
    if not isinstance(writer, PSIPart) or not isinstance(path, str):
        raise RecipeError(
            f"{party}: the ids are written by a {type(writer).__name__}; Flare writes them itself, at the path that a"
            " FilePSIWriter names"
        )
    return local, path if path.endswith((".txt", ".csv")) else f"{path}.txt"
