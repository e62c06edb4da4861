"""Filters: transformations of tasks and results on their way, at either end of the link.

There are four chains: tasks and results, each on the server's and on the sites' side. A filter runs exactly once for
each task or result and site, whatever happens on the link, and returns data rather than changing what it was given. It
applies to data of its own type, whichever executor or script handles them.
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

__all__ = [
    "Filter",
    "FilterChain",
    "FilterContext",
    "FilterPoint",
    "TensorFilter",
    "apply_filters",
    "chains",
    "filters_for",
]


class FilterPoint(StrEnum):
    """The place in the round at which a chain of filters works."""

    SERVER_OUTPUT = "server_output"  # a task leaves the server
    CLIENT_INPUT = "client_input"  # a task reaches the site
    CLIENT_OUTPUT = "client_output"  # a result leaves the site
    SERVER_INPUT = "server_input"  # a result reaches the server


_OF_TASKS = (FilterPoint.SERVER_OUTPUT, FilterPoint.CLIENT_INPUT)


@dataclass(frozen=True, slots=True)
class FilterContext:
    """Where a filter works.

    Attributes:
        point: which of the four chains it belongs to.
        site: the site at the other end, or this one; ``*`` where one run serves all.
        task: the name of the task.
        round: the task's round; None outside of one.
    """

    point: FilterPoint
    site: str
    task: str
    round: int | None


class Filter(ABC):
    """Transform the data of a task or a result, as a whole.

    Attributes:
        data_type: the type of the data that it transforms, a model by default; other data pass unchanged.
        same_for_all_sites: whether what comes out depends on the model only, so that one run serves all sites.
    """

    data_type: ClassVar[type] = FLModel
    same_for_all_sites: bool = False

    @abstractmethod
    def process(self, data: Any, context: FilterContext) -> Any:
        """Return the data that go on; never change ``data`` or its arrays in place."""

    def state(self) -> Mapping[Key, Any]:
        """Return what a filter of a site's results remembers from one result to the next: arrays by key, which must
        not be changed in place later. Nothing by default.

        It is called when :meth:`process` has returned, and what it returns survives the site's process. If the server
        did not use a result, because it came too late or its round began again, the filter is restored to its state
        before that result.
        """
        return {}

    def restore(self, state: Mapping[Key, Any]) -> None:
        """Continue from what :meth:`state` returned; from an empty mapping, as before the first result.

        Raises:
            JobError: the filter overrides ``state`` only.
        """
        if state:
            raise JobError(f"{type(self).__name__} has a state(), so it needs a restore(state) as well")


class TensorFilter(Filter):
    """Transform a model tensor by tensor, so that a large one keeps streaming: each is filtered when it is read."""

    @abstractmethod
    def process_tensor(self, key: Key, array: Any, context: FilterContext) -> Any:
        """Return the array that goes on under ``key`` in place of ``array``; ``context`` says where."""

    def process(self, model: FLModel, context: FilterContext) -> FLModel:
        if model.params is None:
            return model
        return replace(model, params=_FilteredParams(model.params, self, context, ()))


class _FilteredParams(LazyParams):
    def __init__(
        self, inner: Params, tensor_filter: TensorFilter, context: FilterContext, path: tuple[str, ...]
    ) -> None:
        self._inner = inner
        self._filter = tensor_filter
        self._context = context
        self._path = path

    def __getitem__(self, name: str) -> Any:
        value = self._inner[name]
        path = (*self._path, name)
        if isinstance(value, Mapping):
            return _FilteredParams(value, self._filter, self._context, path)
        key = path if len(path) > 1 else name
        found = self._filter.process_tensor(key, value, self._context)
        if found is None:
            raise ModelError(
                f"{_named(self._filter, self._context)} returned None for '{key_text(key)}'; its process_tensor() must"
                " return the array that goes on, the same one if it is not to change"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def __len__(self) -> int:
        return len(self._inner)

    def tensor_keys(self) -> list[Key]:
        return keys_of(self._inner)


@dataclass(frozen=True, slots=True)
class FilterChain:
    """Filters for some tasks (``*`` stands for all), in the order in which they run.

    Attributes:
        tasks: their names.
        filters: each gets what the one before returned.
    """

    tasks: tuple[str, ...]
    filters: tuple[Filter, ...]


def chains(entries: Sequence[FilterEntry]) -> list[FilterChain]:
    """Make the filters that a job describes."""
    return [FilterChain(entry.tasks, tuple(each.build() for each in entry.filters)) for entry in entries]


def apply_filters(chains: Sequence[FilterChain], data: Any, context: FilterContext) -> Any:
    """Run every filter that is meant for the context's task and for data of that type.

    Args:
        chains: in the order in which they run.
        data: the first filter's input.
        context: names the task.
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
        raise ModelError(
            f"{_named(each, context)} returned {_described(found)}; its process() must return the {name} that goes"
            f" on{example}"
        )
    if isinstance(data, FLModel) and isinstance(found, FLModel):
        _check_kept(data, found, each, context)
    return found


def _check_kept(model: FLModel, found: FLModel, each: Filter, context: FilterContext) -> None:
    """Refuse a result that has lost what gives its params their meaning, as ``FLModel(params=...)`` does."""
    lost = ""
    if model.params_type is ParamsType.DIFF and found.params_type is ParamsType.FULL:
        lost = "params_type DIFF, so a difference would count as a whole model"
    elif (steps := MetaKey.NUM_STEPS_CURRENT_ROUND) in model.meta and steps not in found.meta:
        lost = f"meta['{steps}'], so the contribution would count as 1 step (set it to 1 if that is meant)"
    elif context.point in _OF_TASKS and model.current_round is not None and found.current_round is None:
        lost = "current_round and whatever else its fields and meta said of the task"
    if lost:
        raise ModelError(
            f"{_named(each, context)} returned a model without {lost}; return dataclasses.replace(model, params=…)"
        )


def _named(each: Filter, context: FilterContext) -> str:
    """Describe a filter and where it works, for messages."""
    what = "task" if context.point in _OF_TASKS else "result"
    at_server = context.point in (FilterPoint.SERVER_OUTPUT, FilterPoint.SERVER_INPUT)
    where = f"at {context.site}" if not at_server else "at the server"
    if context.point is FilterPoint.SERVER_INPUT:
        where += f", applied to what {context.site} sent,"
    return f"the filter {type(each).__name__} of the {what} '{context.task}' {where}"


def _described(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def filters_for(chains: Sequence[FilterChain], task: str) -> list[Filter]:
    """The filters that are meant for a task, in order."""
    return [each for chain in chains if task in chain.tasks or "*" in chain.tasks for each in chain.filters]
