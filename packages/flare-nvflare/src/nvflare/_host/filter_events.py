"""The events around a chain of filters, which a job fires where it has filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flare_core.components import Component
from flare_core.filters import Filter, FilterContext, FilterPoint
from flare_core.job import FilterEntry
from nvflare._host.engine import SERVER, engine_of, peer_context
from nvflare._host.filters import as_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey

PULL = (EventType.SWAP_IN, EventType.BEFORE_PULL_TASK, EventType.AFTER_PULL_TASK)
"""Events of a site that gets a task."""

SEND = (EventType.BEFORE_SEND_TASK_RESULT, EventType.AFTER_SEND_TASK_RESULT)
"""Events of a site that sends a result."""

_EVENTS = {
    (FilterPoint.SERVER_OUTPUT, False): (EventType.BEFORE_TASK_DATA_FILTER,),
    (FilterPoint.SERVER_OUTPUT, True): (EventType.AFTER_TASK_DATA_FILTER,),
    (FilterPoint.CLIENT_INPUT, False): (*PULL, EventType.BEFORE_TASK_DATA_FILTER),
    (FilterPoint.CLIENT_INPUT, True): (EventType.AFTER_TASK_DATA_FILTER,),
    (FilterPoint.CLIENT_OUTPUT, False): (EventType.BEFORE_TASK_RESULT_FILTER,),
    (FilterPoint.CLIENT_OUTPUT, True): (EventType.AFTER_TASK_RESULT_FILTER, *SEND),
    (FilterPoint.SERVER_INPUT, False): (EventType.BEFORE_TASK_RESULT_FILTER,),
    (FilterPoint.SERVER_INPUT, True): (EventType.AFTER_TASK_RESULT_FILTER,),
}


class FilterEvents(Filter):
    """Fires the events before or after the filters of a chain, and passes the data on.

    Args:
        is_end: after the filters.
    """

    data_type = object

    def __init__(self, is_end: bool = False) -> None:
        self.is_end = is_end

    def process(self, data: Any, context: FilterContext) -> Any:
        at_server = context.point in (FilterPoint.SERVER_OUTPUT, FilterPoint.SERVER_INPUT)
        engine = engine_of(context.job_id, SERVER if at_server else context.site)
        if engine is None:
            return data
        is_task = context.point in (FilterPoint.SERVER_OUTPUT, FilterPoint.CLIENT_INPUT)
        fl_ctx = engine.new_context()
        fl_ctx.set_peer_context(peer_context(context.site if at_server else SERVER, engine.job_id))
        key = FLContextKey.TASK_DATA if is_task else FLContextKey.TASK_RESULT
        for name, value in ((FLContextKey.TASK_NAME, context.task), (key, as_shareable(data))):
            fl_ctx.set_prop(name, value, private=True, sticky=False)
        if at_server:
            fl_ctx.set_prop(ReservedKey.CLIENT_NAME, context.site, private=True, sticky=False)
        for event in _EVENTS[context.point, self.is_end]:
            engine.fire_event(event, fl_ctx)
        return data


def with_events(entries: Sequence[FilterEntry]) -> list[FilterEntry]:
    """Return the filters of a chain with the events around them; nothing if there are no filters."""
    tasks = tuple(tasks_of(entries))
    if not tasks:
        return []
    begin, end = (Component("nvflare._host.filter_events.FilterEvents", {"is_end": each}) for each in (False, True))
    return [FilterEntry(tasks, (begin,)), *entries, FilterEntry(tasks, (end,))]


def tasks_of(entries: Iterable[FilterEntry]) -> list[str]:
    """Return the tasks that entries of a chain are for."""
    names = {task for entry in entries for task in entry.tasks}
    return ["*"] if "*" in names else sorted(names)
