"""Site: one site's part of a run, inside the process that serves it."""

from __future__ import annotations

import copy
import logging
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core import FilterContext, FilterPoint, FLModel, JobEndpoint, ObservedRun, Observer, RunStatus, Task
from flare_core.events import EventBus, MetricLogged, RunEnded, RunStarted
from flare_core.filters import FilterChain, apply_filters
from flare_core.observer import attach_observers
from flare_runtime.job_code import decomposers_of
from flare_runtime.site.filter_states import FilterStates
from flare_runtime.site.folder import SiteFolder
from flare_runtime.site.peers import Peers
from flare_runtime.site.plan import WorkerPlan
from flare_tensor_downloader import Downloader
from flare_transport import Cell, TransportError

__all__ = ["Site"]

logger = logging.getLogger(__name__)


class Site:
    """One site of a job: its settings, files, filters and observers, whichever executors work there.

    Args:
        name: the site's.
        plan: the plan of its process.
        cell: of its process.
        downloader: of that cell.
        files: the site's folder, and what belongs to it.
        task_filters: for tasks that come from the server.
        result_filters: for results that go to it.
        states_folder: where the states of filters outlive the process; None keeps them in memory.
        endpoint: its access to the other parties of the job.
        fail: fails the run with a message and details.
    Attributes:
        cancelled: set when the run is over, aborted, or without its server.
    """

    def __init__(
        self,
        name: str,
        plan: WorkerPlan,
        *,
        cell: Cell,
        downloader: Downloader,
        files: SiteFolder,
        task_filters: Sequence[FilterChain] = (),
        result_filters: Sequence[FilterChain] = (),
        states_folder: Path | None = None,
        endpoint: JobEndpoint,
        fail: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.plan = plan
        self.job_id = plan.job_id
        self.config: dict[str, Any] = copy.deepcopy(plan.job.client_app(name).config)  # sites of one process share it
        self.code = plan.job.client_code(name)
        self.decomposers = decomposers_of(plan.job)
        self.files = files
        self.endpoint = endpoint
        self._fail = fail
        self.cell = cell
        self.downloader = downloader
        self.peers = Peers(cell, downloader, plan.server)
        self.cancelled = threading.Event()
        self.events = EventBus()
        self.round: int | None = None  # of the task taken last
        self._task_filters = list(task_filters)
        self._result_filters = list(result_filters)
        filters = [each for chain in self._result_filters for each in chain.filters]
        self._filter_states = FilterStates(filters, states_folder)
        self._filtering = threading.Lock()  # a filter with a state handles one result at a time
        self._ending = threading.Lock()
        self._has_ended = False  # whether the observers know of the end

    @property
    def party(self) -> str:
        """The site's name, among those of the parties of the job."""
        return self.name

    @property
    def folder(self) -> Path:
        """The absolute path of the site's folder in this run."""
        return self.files.path.absolute()

    @property
    def has_filters(self) -> bool:
        """Whether a filter here may look at tasks or results."""
        return bool(self._task_filters or self._result_filters)

    def observe(self, observers: Iterable[Observer], recipe: Mapping[str, Any]) -> None:
        """Attach observers before anything happens.

        Args:
            observers: of this site.
            recipe: what the run was made with.
        """
        run = ObservedRun(self.plan.job.name, self.job_id, self.name, self.folder, self.events, self.warn, recipe)
        attach_observers(list(observers), run)

    def begin(self) -> None:
        """Announce the start of the run to the observers."""
        self.events.emit(RunStarted(self.plan.job.name, (self.name,)))

    def end(self, outcome: RunStatus, error: str) -> None:
        """Announce the end of the run to the observers, once; return when they have handled it."""
        self.cancelled.set()
        with self._ending:
            if not self._has_ended:
                self._has_ended = True
                self.events.emit(RunEnded(outcome, error))

    def filtered_task(self, task: Task, data: Any) -> Any:
        """Return the data of a task as the site's filters leave them."""
        return apply_filters(self._task_filters, data, self._context(FilterPoint.CLIENT_INPUT, task))

    def filtered_result(self, task: Task, data: Any) -> Any:
        """Return the data of a result as the site's filters leave them."""
        if not self._result_filters:
            return data
        context = self._context(FilterPoint.CLIENT_OUTPUT, task)
        with self._filtering:
            if not isinstance(data, FLModel) or data.params is None:  # nothing that a filter's state depends on
                return apply_filters(self._result_filters, data, context)
            self._filter_states.begin(task)
            data = apply_filters(self._result_filters, data, context)
            self._filter_states.end(task)
            return data

    def _context(self, point: FilterPoint, task: Task) -> FilterContext:
        return FilterContext(point, self.name, task.name, task.round)

    def log(self, key: str, value: Any, *, kind: str = "METRIC", step: int | None = None) -> None:
        """Report a number, or something else that can be serialized, to the run's record."""
        self.cell.send(self.plan.server, "log", [self.name, key, value, kind, step, self.round])
        self.events.emit(MetricLogged(key, value, self.round, self.name, step, kind))

    def note_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Announce the metrics of a result to the observers; the server learns them with the result."""
        for key, value in metrics.items():
            self.events.emit(MetricLogged(key, value, self.round, self.name))

    def warn(self, text: str) -> None:
        """Show a warning to the people who watch the run."""
        self.note(f"warning: {text}")
        try:
            self.cell.send(self.plan.server, "warning", [self.name, text])
        except TransportError as error:
            logger.warning("warning not sent site=%s text=%s reason=%s", self.name, text, error)

    def fail(self, error: BaseException) -> None:
        """Fail the run, for a background thread that cannot go on; ignored once ``cancelled`` is set."""
        if not self.cancelled.is_set():
            details = "".join(traceback.format_exception(error)).rstrip()
            self._fail(f"{self.name}: {type(error).__name__}: {error}", details)

    def note(self, text: str) -> None:
        """Write a line into the site's log; a full disk does not stop the run."""
        try:
            self.files.log.write(f"{text}\n")
            self.files.log.flush()
        except OSError as error:
            logger.warning("not written into the log of the site site=%s text=%s reason=%s", self.name, text, error)
