"""Filters: transformations of tasks and results in transit, at either end of the connection.

There are four chains: for tasks and for results, at the server and at the sites. A filter runs exactly once for each
task or result and site, even if the connection is lost, and returns new data rather than changing its input. It applies
to data of its own type, whichever executor or script handles them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from flare_core.errors import FlareError, JobError, ModelError
from flare_core.job import FilterEntry
from flare_core.model import FLModel, Key, MetaKey, Params, ParamsType, key_text
from flare_core.tensor_blocks import LazyParams, keys_of


class FilterPoint(StrEnum):
    """The point in a round at which a chain of filters runs."""

    SERVER_OUTPUT = "server_output"  # a task leaves the server
    CLIENT_INPUT = "client_input"  # a task reaches the site
    CLIENT_OUTPUT = "client_output"  # a result leaves the site
    SERVER_INPUT = "server_input"  # a result reaches the server


_OF_TASKS = (FilterPoint.SERVER_OUTPUT, FilterPoint.CLIENT_INPUT)


@dataclass(frozen=True, slots=True)
class FilterContext:
    """The context of a filter call.

    Attributes:
        point: the chain that the filter belongs to.
        site: the site that sends or receives the data; ``*`` if one call serves all sites.
        task: the name of the task.
        round: the round of the task; None outside of rounds.
        job_id: the run's id.
    """

    point: FilterPoint
    site: str
    task: str
    round: int | None
    job_id: str = ""


class Filter(ABC):
    """Transform the data of a task or a result as a whole.

    Attributes:
        data_type: the type of data to transform, a model by default; other data pass unchanged.
        same_for_all_sites: the output depends only on the data, so that one call serves all sites.
    """

    data_type: ClassVar[type] = FLModel
    same_for_all_sites: bool = False

    @abstractmethod
    def process(self, data: Any, context: FilterContext) -> Any:
        """Return the transformed data; never change ``data`` or its arrays in place."""

    def state(self) -> Mapping[Key, Any]:
        """Return the state that a filter of a site's results keeps between results; empty by default.

        The values are arrays by key, which must not be changed in place later. It is called after :meth:`process`, and
        survives the site's process. If the server did not use a result, because it was late or its round was repeated,
        the filter is restored to its state before that result.
        """
        return {}

    def restore(self, state: Mapping[Key, Any]) -> None:
        """Restore a state that :meth:`state` returned; an empty mapping is the initial state.

        Raises:
            JobError: the filter overrides only ``state``.
        """
        if state:
            raise JobError(f"{type(self).__name__} has a state(), so it needs a restore(state) as well")


class TensorFilter(Filter):
    """Transform a model tensor by tensor, each when it is read, so that large models are still streamed."""

    @abstractmethod
    def process_tensor(self, key: Key, array: Any, context: FilterContext) -> Any:
        """Return the array to send under ``key`` instead of ``array``; ``context`` has the site and the task."""

    def process(self, model: FLModel, context: FilterContext) -> FLModel:
        if model.params is None:
            return model
        return replace(model, params=_FilteredParams(model.params, self, context, ()))


@dataclass(eq=False, repr=False)
class _FilteredParams(LazyParams):
    _inner: Params
    _filter: TensorFilter
    _context: FilterContext
    _path: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        value = self._inner[name]
        path = (*self._path, name)
        if isinstance(value, Mapping):
            return _FilteredParams(value, self._filter, self._context, path)
        key = path if len(path) > 1 else name
        found = self._filter.process_tensor(key, value, self._context)
        if found is None:
            name = _named(self._filter, self._context)
            raise ModelError(f"{name} returned None for '{key_text(key)}'; its process_tensor() must return an array")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    def tensor_keys(self) -> list[Key]:
        return keys_of(self._inner)


@dataclass(frozen=True, slots=True)
class FilterChain:
    """The ``filters`` for some ``tasks`` (``*`` means all), in the order in which they run."""

    tasks: tuple[str, ...]
    filters: tuple[Filter, ...]


def chains(entries: Sequence[FilterEntry]) -> list[FilterChain]:
    """Create the filters that a job describes."""
    return [FilterChain(entry.tasks, tuple(each.build() for each in entry.filters)) for entry in entries]


def apply_filters(chains: Sequence[FilterChain], data: Any, context: FilterContext) -> Any:
    """Run every filter that applies to the task and the type of the data.

    Args:
        chains: the filters, in the order in which they run.
        data: the input of the first filter.
        context: the context, which names the task.
    Raises:
        ModelError: a filter returned data of another type, or a model without its ``params_type`` or number of steps,
            or raised an error that is not a ``FlareError``; names the filter.
    """
    for each in filters_for(chains, context.task):
        if not isinstance(data, each.data_type):
            continue
        try:
            data = _processed(each, data, context)
        except FlareError:
            raise
        except Exception as error:
            raise ModelError(f"{_named(each, context)} raised {type(error).__name__}: {error}") from error
    return data


def _processed(each: Filter, data: Any, context: FilterContext) -> Any:
    found: Any = each.process(data, context)
    if not isinstance(found, each.data_type):
        name = each.data_type.__name__
        example = ", such as dataclasses.replace(model, params=…)" if each.data_type is FLModel else ""
        kind = "None" if found is None else f"a {type(found).__name__}"
        raise ModelError(
            f"{_named(each, context)} returned {kind}; its process() must return the transformed {name}{example}"
        )
    if isinstance(data, FLModel) and isinstance(found, FLModel):
        _check_kept(data, found, each, context)
    return found


def _check_kept(model: FLModel, found: FLModel, each: Filter, context: FilterContext) -> None:
    """Reject a model that lost what gives its params their meaning, such as one made by ``FLModel(params=...)``."""
    lost = ""
    if model.params_type is ParamsType.DIFF and found.params_type is ParamsType.FULL:
        lost = "params_type DIFF, so a difference would count as a whole model"
    elif (steps := MetaKey.NUM_STEPS_CURRENT_ROUND) in model.meta and steps not in found.meta:
        lost = f"meta['{steps}'], so the contribution would count as 1 step (set it to 1 if this is intended)"
    elif context.point in _OF_TASKS and model.current_round is not None and found.current_round is None:
        lost = "current_round and the other fields and meta of the task"
    if lost:
        raise ModelError(
            f"{_named(each, context)} returned a model without {lost}; return dataclasses.replace(model, params=…)"
        )


def _named(each: Filter, context: FilterContext) -> str:
    """Describe a filter and its context, for messages."""
    data = "task" if context.point in _OF_TASKS else "result"
    at_server = context.point in (FilterPoint.SERVER_OUTPUT, FilterPoint.SERVER_INPUT)
    where = "the server" if at_server else context.site
    if context.point is FilterPoint.SERVER_INPUT:
        where += f", applied to the reply of {context.site},"
    return f"the filter {type(each).__name__} of the {data} '{context.task}' at {where}"


def filters_for(chains: Sequence[FilterChain], task: str) -> list[Filter]:
    """Return the filters that apply to a task, in order."""
    return [each for chain in chains if task in chain.tasks or "*" in chain.tasks for each in chain.filters]
