"""The server's part of a hosted job: its components as a service, each of its controllers as a workflow."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import FLModel, JobError, Observer, Service, Workflow
from flare_core.events import MetricLogged
from flare_core.model import unflatten
from flare_core.observer import ObservedRun
from flare_core.service import JobContext
from flare_core.workflow import TrainingFederation
from flare_fobs.tensors import to_numpy
from flare_runtime.run.federation import SitesFederation
from nvflare._host import continuing
from nvflare._host.engine import SERVER, Engine, engine_of
from nvflare._host.tasks import Communicator
from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, AnalyticsData, AnalyticsDataType
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.app_common.abstract.model import ModelLearnable, ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

logger = logging.getLogger("nvflare")

_KEPT = {
    AppEventType.AFTER_LEARNABLE_PERSIST: "global",
    AppEventType.GLOBAL_BEST_MODEL_AVAILABLE: "best",
}


class ServerEngine(Engine):
    """The server's engine, which has Flare keep the models that components persist."""

    communicator: Communicator | None = None

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        super().fire_event(event_type, fl_ctx)
        if event_type in _KEPT and self.communicator is not None:
            model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
            if isinstance(model, ModelLearnable) and (arrays := _arrays_of(model.get(ModelLearnableKey.WEIGHTS))):
                value = fl_ctx.get_prop(AppConstants.VALIDATION_RESULT) if _KEPT[event_type] == "best" else None
                metric = float(value) if isinstance(value, int | float | np.number) else None
                self.communicator.keep(FLModel(params=arrays), _KEPT[event_type], metric)


class ServerHost(Service, Observer):
    """Holds the server's components for the run.

    Args:
        settings: a JSON text with the descriptions of ``components`` and ``workflows``, ``variables`` for ``{name}`` in
            their arguments, the job's ``meta``, and the tasks that have filters, as ``filtered``.
    """

    def __init__(self, settings: str = "{}") -> None:
        self.settings = settings
        content = json.loads(settings)
        self.components: list[dict[str, Any]] = content.get("components", [])
        self.workflows: list[dict[str, Any]] = content.get("workflows", [])
        self.variables: dict[str, Any] = content.get("variables", {})
        self.meta: dict[str, Any] = content.get("meta", {})
        self.filtered: dict[str, list[str]] = content.get("filtered", {})
        self._engine: ServerEngine | None = None
        self._has_begun = False
        self._is_restart = False

    def attach(self, run: ObservedRun) -> None:
        run.events.subscribe(MetricLogged, self._on_metric)

    def start(self, context: JobContext) -> None:
        _name_layers_anew()
        engine = ServerEngine(context, self.components, self.variables, self.meta, self.filtered)
        self._engine = engine
        self.controllers: list[tuple[str, Controller]] = []
        for index, entry in enumerate(self.workflows):
            controller = engine.build_component(entry)
            if not isinstance(controller, Controller):
                raise JobError(
                    f"the workflow {entry.get('id', index)!r} is a {type(controller).__name__}, no Controller"
                )
            name = str(entry.get("id", f"workflow_{index}"))
            engine.add_handler(controller)
            engine.get_all_components().setdefault(name, controller)
            self.controllers.append((name, controller))
        engine.host = self  # type: ignore[attr-defined]  # for the parts of this run
        self._is_restart = Path(engine.workspace.get_job_meta_path(engine.job_id)).exists()
        self._write_meta(engine)

    def begin_run(self) -> None:
        """Fire the first event of the run, once."""
        if self._engine is not None and not self._has_begun:
            self._has_begun = True
            self._engine.fire(EventType.START_RUN)

    def set_aside(self) -> bool:
        """Rename the run's folder of an earlier process, whose work is done again; return False if there was none.

        Components would otherwise begin with models that they had stored there.
        """
        engine = self._engine
        if engine is None or self._has_begun or not self._is_restart:
            return False
        places, job_id = engine.workspace, engine.job_id
        folder = Path(places.get_run_dir(job_id))
        earlier = (folder.with_name(f"{folder.name}-earlier-{number}") for number in itertools.count(1))
        folder.rename(next(each for each in earlier if not each.exists()))
        for make in (places.get_app_config_dir, places.get_app_custom_dir):  # components expect them to be there
            make(job_id)
        self._write_meta(engine)
        return True

    def _write_meta(self, engine: ServerEngine) -> None:
        path = Path(engine.workspace.get_job_meta_path(engine.job_id))
        path.write_text(json.dumps(self.meta, indent=2) + "\n", encoding="utf-8")

    def stop(self) -> None:
        if self._engine is not None:
            try:
                self._engine.end()
            finally:
                self._engine.close()

    def _on_metric(self, event: MetricLogged) -> None:
        """Let receivers of metrics, which are components, have what scripts log."""
        engine = self._engine
        if engine is None or event.site is None:
            return
        kwargs: dict[str, Any] = {} if event.step is None else {"global_step": event.step}
        data = AnalyticsData(event.key, event.value, AnalyticsDataType(event.kind), **kwargs).to_dxo().to_shareable()
        data.set_peer_props({ReservedKey.IDENTITY_NAME: event.site})
        data.set_header("record_origin", event.site)
        context = engine.new_context()
        context.set_prop(FLContextKey.EVENT_DATA, data, private=True, sticky=False)
        context.set_prop(FLContextKey.EVENT_ORIGIN_SITE, event.site, private=True, sticky=False)
        engine.fire_event(f"fed.{ANALYTIC_EVENT_TYPE}", context)


class HostedWorkflow(Workflow):
    """Runs one of the controllers of a job.

    Args:
        index: which of them.
        is_last: whether none follows.
        key_metric: the metric by which the best model is chosen, if one is.
    """

    def __init__(self, index: int = 0, is_last: bool = True, key_metric: str | None = None) -> None:
        self.index = index
        self.is_last = is_last
        self.key_metric = key_metric
        self._restored: Mapping[str, Any] | None = None
        self._state: Callable[[], dict[str, Any]] = dict

    def state(self) -> dict[str, Any]:
        return self._state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self._restored = state

    def begins_again(self, state: Mapping[str, Any]) -> str:
        return str(state.get("reason", ""))

    def run(self, fed: TrainingFederation) -> None:
        if not isinstance(fed, SitesFederation):
            raise JobError("a controller that was written for NVIDIA FLARE runs in SimEnv, PocEnv and ProdEnv only")
        engine: Any = engine_of(fed.job_id, SERVER)
        name, controller = engine.host.controllers[self.index]
        self._state = partial(continuing.state_of, engine, name, controller)
        if self._restored is None and self.index == 0 and engine.host.set_aside():
            known = continuing.reason(name, "")
            if not any(text.startswith(known) for text, _ in fed.warnings.state()):
                fed.warn(continuing.reason(name, "no round of it was recorded as complete"))
        communicator = engine.communicator = Communicator(fed, engine, fed.next_round if self._restored else None)
        controller.set_communicator(communicator)
        communicator.serve(lambda: self._begin(engine, name, controller))

    def _begin(self, engine: Any, name: str, controller: Controller) -> None:
        engine.host.begin_run()
        if self._restored is not None:
            continuing.restore(engine, controller, self._restored)
        self._control(engine, name, controller)

    def _control(self, engine: Engine, name: str, controller: Controller) -> None:
        context = engine.new_context()
        context.set_prop(FLContextKey.WORKFLOW, name, sticky=True)
        try:
            controller.initialize(context)
            engine.fire_event(EventType.START_WORKFLOW, context)
            if not engine.abort_signal.triggered:
                controller.control_flow(engine.abort_signal, context)
        except BaseException:
            try:
                self._stop(engine, controller, context)
            except Exception as error:  # the first error is that of the run
                logger.warning("workflow %s could not be stopped after it had failed: %r", name, error)
            raise
        self._stop(engine, controller, context)
        if self.is_last:
            engine.end()

    @staticmethod
    def _stop(engine: Engine, controller: Controller, context: FLContext) -> None:
        controller.stop_controller(context)
        engine.fire_event(EventType.END_WORKFLOW, context)


def _arrays_of(weights: Any) -> dict[str, Any]:
    """Return the numeric arrays of weights by key; empty if there is something else."""
    if not isinstance(weights, Mapping):
        return {}
    found: dict[Any, Any] = {}
    for key, value in weights.items():
        if not isinstance(key, str):
            return {}
        if isinstance(value, Mapping):
            if not (inner := _arrays_of(value)):
                return {}
            found[key] = inner
            continue
        if "torch" in sys.modules and type(value).__module__.startswith("torch"):
            value = to_numpy(value, key=key)
        elif not isinstance(value, np.ndarray):
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                return {}
            value = np.asarray(value)
        if value.dtype.kind in "OUSMm":
            return {}
        found[key] = np.array(value)
    return unflatten(found) if found else {}


def _name_layers_anew() -> None:
    """Let Keras count the names of layers from the beginning, as it does in the sites' processes.

    In a simulation the server's process may have made models before, and weights find their layers by name.
    """
    if (keras := sys.modules.get("keras")) is not None:
        keras.utils.clear_session(free_memory=False)
