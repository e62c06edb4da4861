"""Parts of jobs that only describe something: jobs with them become recipes of Flare's.

XGBoost, statistics and private set intersection are such jobs. Their controllers, executors, writers and filters keep
the arguments that they are given; what reads the data of a site is an object of the user's, which the recipe takes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from flare_core import Observer, Recipe, RecipeError, Service
from flare_core.components import Component, import_class
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.layout import Outputs
from nvflare._flare.parts import Parts
from nvflare.apis.executor import Executor
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.impl.controller import Controller


class RecipePart(FLComponent):
    """A component that describes a part of a recipe."""


class RecipeController(Controller):
    """A workflow that describes a recipe."""

    def start_controller(self, fl_ctx: Any) -> None:
        """Do nothing."""

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        """Refuse to run, as the workflow is that of a recipe.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(f"{type(self).__name__} runs in the job of a recipe alone; add its executor to the sites")

    def stop_controller(self, fl_ctx: Any) -> None:
        """Do nothing."""


class RecipeExecutor(Executor):
    """An executor that describes what the sites do in a recipe."""

    @classmethod
    @abstractmethod
    def recipe(cls, name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs]:
        """Return the recipe that does what a job's parts say, and where its results are to be found.

        Args:
            name: of the job.
            min_clients: the number of sites that it needs.
            parties: its parts.
        Raises:
            RecipeError: a part is missing, or cannot be part of the recipe.
        """

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        """Refuse to run, as the executor is that of a recipe.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(
            f"{type(self).__name__} runs in the job of a recipe alone; put it into a FedJob or a job folder"
        )


def as_recipe(name: str, min_clients: int, parties: Mapping[str, Parts]) -> tuple[Recipe, Outputs] | None:
    """Return the recipe of a job and its results, or None for a job of parts that run themselves.

    Args:
        name: of the job.
        min_clients: the number of sites that it needs.
        parties: its parts.
    Raises:
        RecipeError: a part is missing, or cannot be part of the recipe.
    """
    for parts in parties.values():
        for _, executor in parts.executors:
            if isinstance(executor, RecipeExecutor):
                return executor.recipe(name, min_clients, parties)
    return None


def other_parts(parties: Mapping[str, Parts]) -> dict[str, Parts]:
    """Return the parts that the recipe does not stand for: trackers, filters, settings and files."""
    return {
        party: replace(
            parts,
            workflows={},
            executors=[],
            components={name: each for name, each in parts.components.items() if _is_flares(each)},
            task_data_filters=_without_parts(parts.task_data_filters),
            task_result_filters=_without_parts(parts.task_result_filters),
        )
        for party, parts in parties.items()
    }


def workflow_of(parties: Mapping[str, Parts]) -> Any:
    """Return the one workflow of a job.

    Raises:
        RecipeError: the job has none, or several.
    """
    workflows = list(parties[SERVER].workflows.values()) if SERVER in parties else []
    if len(workflows) != 1:
        names = ", ".join(type(each).__name__ for each in workflows) or "none"
        raise RecipeError(f"the job needs one workflow, and has {names}; add one controller with job.to_server(...)")
    return workflows[0]


def executors_of(parties: Mapping[str, Parts], kind: type[RecipeExecutor]) -> Iterator[tuple[str, Parts, Any]]:
    """Yield the name of each site, or ``@ALL``, with its parts and its executor.

    Raises:
        RecipeError: a site has an executor of another kind.
    """
    for party, parts in parties.items():
        for _, executor in parts.executors:
            if not isinstance(executor, kind):
                raise RecipeError(
                    f"a {type(executor).__name__} for {_named(party)} cannot be in a job with a {kind.__name__};"
                    " put it into a job of its own"
                )
            yield party, parts, executor


def component_of(party: str, parts: Parts, wanted: str, what: str) -> Any:
    """Return the component that another part names.

    Args:
        party: a site, or ``@ALL``.
        parts: its parts.
        wanted: the id.
        what: its purpose, for the message.
    Raises:
        RecipeError: there is none of that id.
    """
    if isinstance(wanted, str) and wanted in parts.components:
        return parts.components[wanted]
    known = ", ".join(map(repr, parts.components)) or "none"
    raise RecipeError(
        f"{_named(party)}: there is no component {wanted!r} {what} (there is {known}); add it with"
        f" job.to(<object>, {party!r}, id={wanted!r}), or to 'components' of config_fed_client"
    )


def named_sites(party: str, min_clients: int) -> list[str]:
    """Return a site, or for ``@ALL`` as many names as there must be sites."""
    return [party] if party != ALL_SITES else [f"site-{number + 1}" for number in range(min_clients)]


def _is_flares(component: Any) -> bool:
    """Return True for a component that runs beside a recipe: a tracker or a service."""
    if not isinstance(component, Component):
        return isinstance(component, Observer | Service)
    cls = import_class(component.class_path)
    return isinstance(cls, type) and issubclass(cls, Observer | Service)


def _named(party: str) -> str:
    return "all sites" if party == ALL_SITES else party


def _without_parts(chain: list[tuple[list[str], Any]]) -> list[tuple[list[str], Any]]:
    return [(tasks, each) for tasks, each in chain if not isinstance(each, RecipePart)]
