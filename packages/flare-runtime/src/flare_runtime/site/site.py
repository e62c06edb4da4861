"""Site: one site's part of a run, inside the process that serves it."""

from __future__ import annotations

import copy
import logging
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from flare_core import FilterContext, FLModel, JobEndpoint, ObservedRun, Observer, RunStatus, Task
from flare_core.events import EventBus, MetricLogged, RunEnded, RunStarted
from flare_core.filters import FilterChain, FilterPoint, apply_filters
from flare_core.observer import attach_observers
from flare_runtime.job_code import decomposers_of
from flare_runtime.site.filter_states import FilterStates
from flare_runtime.site.peers import Peers
from flare_runtime.site.plan import WorkerPlan
from flare_tensor_downloader import Downloader
from flare_transport import Cell, TransportError

logger = logging.getLogger(__name__)


class Site:
    """One site of a job: its settings, files, filters and observers, shared by its executors.

    Executors run on threads of their own; observers and filters may therefore be called on any of them.

    Args:
        name: the site's name.
        plan: the plan of the worker process.
        cell: the worker's cell.
        downloader: the downloader of that cell.
        folder: the site's folder in this run.
        output: the site's log, in that folder.
        temporary: the site's folder for temporary files; None for the system's.
        task_filters: applied to tasks that come from the server.
        result_filters: applied to results before they leave.
        states_folder: where the states of filters survive the process; None if the run does not.
        endpoint: the site's access to the other parties of the job.
        fail: fails the run with a message and details.
    Attributes:
        is_durable: the run continues if the site's process dies.
        cancelled: set when the run is over or aborted, or the server is lost.
    """

    def __init__(
        self,
        name: str,
        plan: WorkerPlan,
        *,
        cell: Cell,
        downloader: Downloader,
        folder: Path,
        output: TextIO,
        temporary: Path | None = None,
        task_filters: Sequence[FilterChain] = (),
        result_filters: Sequence[FilterChain] = (),
        states_folder: Path | None = None,
        endpoint: JobEndpoint,
        fail: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.plan = plan
        self.job_id = plan.job_id
        # Sites that share a process share the job object, so a script that changes its config gets a copy.
        self.config: dict[str, Any] = copy.deepcopy(plan.job.client_app(name).config)
        self.code = plan.job.client_code(name)
        self.decomposers = decomposers_of(plan.job)
        self.folder = folder.absolute()
        self.output = output
        self.temporary = temporary
        self.is_durable = states_folder is not None
        self.endpoint = endpoint
        self._fail = fail
        self.cell = cell
        self.downloader = downloader
        self.peers = Peers(cell, downloader, plan.server)
        self.cancelled = threading.Event()
        self.events = EventBus()
        self.round: int | None = None  # the round of the last task
        self._task_filters = list(task_filters)
        self._result_filters = list(result_filters)
        filters = [each for chain in self._result_filters for each in chain.filters]
        self._filter_states = FilterStates(filters, states_folder)
        self._filtering = threading.Lock()  # a filter's state belongs to one result at a time
        self._ending = threading.Lock()
        self._has_ended = False  # the observers were told

    @property
    def party(self) -> str:
        """The site's name as a party of the job."""
        return self.name

    @property
    def local(self) -> Path:
        """The absolute path of the folder of settings that the site's owner keeps."""
        return self.plan.local[self.name].absolute()

    @property
    def has_filters(self) -> bool:
        """True if tasks or results pass through filters at this site."""
        return bool(self._task_filters or self._result_filters)

    def observe(self, observers: Iterable[Observer], recipe: Mapping[str, Any]) -> None:
        """Attach the site's observers, before the first event.

        Args:
            observers: the observers.
            recipe: the parameters of the recipe that made the job.
        """
        run = ObservedRun(self.plan.job.name, self.job_id, self.name, self.folder, self.events, self.warn, recipe)
        attach_observers(list(observers), run)

    def begin(self) -> None:
        """Announce the start of the run to the observers."""
        self.events.emit(RunStarted(self.plan.job.name, (self.name,)))

    def end(self, outcome: RunStatus, error: str) -> None:
        """Announce the end of the run to the observers, once; return when they have handled it."""
        self.cancelled.set()
        with self._ending:  # the script's thread and the link's can come here at the same time; both must wait
            if not self._has_ended:
                self._has_ended = True
                self.events.emit(RunEnded(outcome, error))

    def filtered_task(self, task: Task, data: Any) -> Any:
        """Apply the site's filters to the data of a task."""
        return apply_filters(self._task_filters, data, self._context(FilterPoint.CLIENT_INPUT, task))

    def filtered_result(self, task: Task, data: Any) -> Any:
        """Apply the site's filters to the data of a result."""
        if not self._result_filters:
            return data
        context = self._context(FilterPoint.CLIENT_OUTPUT, task)
        with self._filtering:
            if not isinstance(data, FLModel) or data.params is None:  # states are about params only
                return apply_filters(self._result_filters, data, context)
            self._filter_states.begin(task)
            data = apply_filters(self._result_filters, data, context)
            self._filter_states.end(task)
            return data

    def _context(self, point: FilterPoint, task: Task) -> FilterContext:
        return FilterContext(point, self.name, task.name, task.round, self.job_id)

    def log(self, key: str, value: Any, *, kind: str = "METRIC", step: int | None = None) -> None:
        """Send a number, or another value that can be serialized, to the run's record."""
        self.cell.send(self.plan.server, "log", [self.name, key, value, kind, step, self.round])
        self.events.emit(MetricLogged(key, value, self.round, self.name, step, kind))

    def note_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Announce the metrics of a result to the site's observers; the server gets them with the result."""
        for key, value in metrics.items():
            self.events.emit(MetricLogged(key, value, self.round, self.name))

    def warn(self, text: str) -> None:
        """Write a warning to the site's log, and have it shown where the run is watched."""
        self.note(f"warning: {text}")
        try:
            self.cell.send(self.plan.server, "warning", [self.name, text])
        except TransportError as error:
            logger.warning("warning not sent site=%s text=%s reason=%s", self.name, text, error)

    def fail(self, error: BaseException) -> None:
        """Fail the run, for a background thread that cannot continue; does nothing once ``cancelled`` is set."""
        if not self.cancelled.is_set():
            details = "".join(traceback.format_exception(error)).rstrip()
            self._fail(f"{self.name}: {type(error).__name__}: {error}", details)

    def note(self, text: str) -> None:
        """Write a line to the site's log; a full disk does not stop the run."""
        try:
            self.output.write(f"{text}\n")
            self.output.flush()
        except OSError as error:
            logger.warning("site log not written site=%s text=%s reason=%s", self.name, text, error)
