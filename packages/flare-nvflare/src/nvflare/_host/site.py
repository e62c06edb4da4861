"""A site's part of a hosted job: its components as a service, each of its executors as one of Flare's."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from flare_core import JobError, Service, Task
from flare_core.executor import Executor as FlareExecutor
from flare_core.executor import SiteContext
from flare_core.service import JobContext
from nvflare._host.engine import SERVER, Engine, engine_of, peer_context, peer_props
from nvflare._host.filter_events import PULL, SEND
from nvflare._host.wire import incoming, outgoing
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable


class SiteHost(Service):
    """Holds a site's components for the run.

    Args:
        settings: a JSON text with the descriptions of ``components`` and ``executors``, ``variables`` for ``{name}`` in
            their arguments, the job's ``meta``, and the tasks that have filters, as ``filtered``.
    """

    def __init__(self, settings: str = "{}") -> None:
        self.settings = settings
        content = json.loads(settings)
        self.components: list[dict[str, Any]] = content.get("components", [])
        self.executors: list[dict[str, Any]] = content.get("executors", [])
        self.variables: dict[str, Any] = content.get("variables", {})
        self.meta: dict[str, Any] = content.get("meta", {})
        self.filtered: dict[str, list[str]] = content.get("filtered", {})
        self._engine: Engine | None = None

    def start(self, context: JobContext) -> None:
        engine = Engine(context, self.components, self.variables, self.meta, self.filtered)
        self._engine = engine
        made: list[Executor] = []
        for entry in self.executors:
            executor = engine.build_component(entry)
            if not isinstance(executor, Executor):
                raise JobError(f"an executor of {context.party} is a {type(executor).__name__}, which is no Executor")
            engine.add_handler(executor)
            made.append(executor)
        engine.executors = made  # type: ignore[attr-defined]  # for this host
        engine.busy = 0  # type: ignore[attr-defined]  # for this host
        engine.fire(EventType.ABOUT_TO_START_RUN)
        engine.fire(EventType.START_RUN)

    def stop(self) -> None:
        engine: Any = self._engine
        if engine is None:
            return
        try:
            if getattr(engine, "busy", 0):
                engine.fire(EventType.ABORT_TASK)
            engine.end()
        finally:
            engine.close()


class HostedExecutor(FlareExecutor):
    """Does tasks with one of the executors of a job.

    Args:
        index: which of them.
    """

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._begun = threading.Lock()
        self._has_begun = False

    def __deepcopy__(self, memo: dict[int, Any]) -> HostedExecutor:
        return HostedExecutor(self.index)

    def execute(self, task: Task, context: SiteContext) -> Any:
        engine: Any = engine_of(context.job_id, context.party)
        self._begin(context)
        given = incoming(task.data)
        given.set_peer_props(peer_props(SERVER, engine.job_id))
        fl_ctx = engine.new_context()
        fl_ctx.set_peer_context(peer_context(SERVER, engine.job_id))
        for key, value in (
            (FLContextKey.TASK_NAME, task.name),
            (FLContextKey.TASK_ID, given.get_header(ReservedHeaderKey.TASK_ID)),
            (FLContextKey.TASK_DATA, given),
        ):
            fl_ctx.set_prop(key, value, private=True, sticky=False)
        if not engine.has_filters("task_data_filters", task.name):
            _fire(engine, fl_ctx, *PULL, EventType.BEFORE_TASK_DATA_FILTER, EventType.AFTER_TASK_DATA_FILTER)
        engine.fire_event(EventType.BEFORE_TASK_EXECUTION, fl_ctx)
        engine.busy += 1
        try:
            reply = engine.executors[self.index].execute(task.name, given, fl_ctx, engine.abort_signal)
        finally:
            engine.busy -= 1
        if not isinstance(reply, Shareable):
            kind = type(engine.executors[self.index]).__name__
            raise TypeError(f"{kind}.execute() returned a {type(reply).__name__} for '{task.name}', not a Shareable")
        fl_ctx.set_prop(FLContextKey.TASK_RESULT, reply, private=True, sticky=False)
        engine.fire_event(EventType.AFTER_TASK_EXECUTION, fl_ctx)
        if not engine.has_filters("task_result_filters", task.name):
            _fire(engine, fl_ctx, EventType.BEFORE_TASK_RESULT_FILTER, EventType.AFTER_TASK_RESULT_FILTER, *SEND)
        if (jar := given.get_cookie_jar()) is not None:
            reply.set_cookie_jar(jar)
        if reply.get_header(ReservedHeaderKey.RC) is None:
            reply.set_return_code(ReturnCode.OK)
        return outgoing(reply)

    def _begin(self, context: SiteContext) -> None:
        """Make the site's folder the working folder, as it is for NVIDIA FLARE, where the process serves no other."""
        with self._begun:
            if self._has_begun:
                return
            self._has_begun = True
        sites = getattr(getattr(context, "plan", None), "sites", ())
        if len(sites) == 1:
            os.chdir(context.folder)


def _fire(engine: Engine, fl_ctx: FLContext, *events: str) -> None:
    for event in events:
        engine.fire_event(event, fl_ctx)
