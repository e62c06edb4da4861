"""Site: one site's end of a run, inside the process that serves it."""

from __future__ import annotations

import copy
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flare_core import (
    Executor,
    FilterContext,
    FilterPoint,
    FLModel,
    JobEndpoint,
    ObservedRun,
    Observer,
    RunStatus,
    SiteChannel,
    SiteError,
    Task,
    flatten,
    unflatten,
)
from flare_core.events import EventBus, MetricLogged, RunEnded, RunStarted
from flare_core.filters import FilterChain, apply_filters
from flare_core.model import MetaKey
from flare_core.observer import attach_observers
from flare_runtime.job_code import decomposers_of
from flare_runtime.scripts.exchange import Exchange
from flare_runtime.scripts.journal import Journal
from flare_runtime.scripts.process_state import ProcessState
from flare_runtime.scripts.turns import Seat, Turns
from flare_runtime.site.filter_states import FilterStates
from flare_runtime.site.folder import RECEIVED, SiteFolder
from flare_runtime.site.peers import Peers
from flare_runtime.site.plan import WorkerPlan
from flare_tensor_downloader import (
    Downloader,
    DownloadError,
    LazyParams,
    Offer,
    TensorMemory,
    UnknownReferenceError,
    receive_params,
    send_params,
)
from flare_transport import Cell, PeerLostError, TransportError, UnreachableError

__all__ = ["Site"]

logger = logging.getLogger(__name__)


class Site(SiteChannel):
    """Takes tasks from the server, gives them to whoever does them, and returns the replies.

    One thread works for a site at a time, and it holds the turn of its process while it does.

    Args:
        name: the site's.
        plan: what its process was told.
        cell: of its process.
        turns: those whom it takes turns with.
        shares_process: whether its process has scripts of other sites.
        folder: where it works.
        task_filters: for what comes from the server.
        result_filters: for what goes to it.
        journal: remembers, after the process has died, which tasks were begun; None if the run then ends, too.
        endpoint: its access to the other parties of the job; None outside a run.
    """

    def __init__(
        self,
        name: str,
        plan: WorkerPlan,
        *,
        cell: Cell,
        downloader: Downloader,
        turns: Turns,
        shares_process: bool,
        folder: SiteFolder,
        task_filters: Sequence[FilterChain] = (),
        result_filters: Sequence[FilterChain] = (),
        journal: Journal | None = None,
        endpoint: JobEndpoint | None = None,
    ) -> None:
        self.site = name
        self.job_id = plan.job_id
        self.endpoint = endpoint
        self.config = copy.deepcopy(plan.job.client_app(name).config)  # sites of one process share the job
        self.code = plan.job.client_code(name)
        self.decomposers = decomposers_of(plan.job)
        self.folder = folder
        self.cell = cell
        self.downloader = downloader
        self.turns = turns
        self.state = ProcessState(
            folder=folder.path,
            roots=[self.code.root],
            output=folder.log,
            seed=plan.seed(name),
            channel=self,
            variables=_variables(plan, folder),
            temporary=folder.temporary,
        )
        self.seat = Seat(name, self.state.enter if shares_process else _nothing)
        self.peers = Peers(cell, downloader, plan.server)
        self._server = plan.server
        self._job_name = plan.job.name
        self._task_filters = list(task_filters)
        self._result_filters = list(result_filters)
        filters = [each for chain in self._result_filters for each in chain.filters]
        self._filter_states = FilterStates(filters, None if journal is None else journal.folder)
        self.events = EventBus()
        self._observers_know = False  # of the end
        self._ending = threading.Lock()
        self._exchange: Exchange | None = None
        self._inbox: deque[tuple[Callable[[], Task], int]] = deque()
        self._told = threading.Condition()  # that tasks are withdrawn, or the run is over
        self._withdrawals = 0  # so far
        self._withdrawals_before = 0  # the task taken last came
        self._over = False
        self._task: Task | None = None
        self._replied = 0
        self._round: int | None = None  # of the task taken last
        self._lazy: LazyParams | None = None  # what the task's params are fetched from
        self._journal = journal
        self._memory = TensorMemory() if downloader.settings.skip_unchanged else None

    @property
    def ended(self) -> bool:
        """Whether the server has said that the run is over, and every task was taken."""
        return self._over and not self._inbox

    @property
    def passes_tensors_on(self) -> bool:
        """Whether nothing here looks at what the script gets and sends."""
        return not self._task_filters and not self._result_filters

    @property
    def progress(self) -> str:
        """Where the site stands, for messages."""
        if self._task is not None:
            round_ = self._task.model.current_round
            return f"in the task '{self._task.name}'" if round_ is None else f"in round {round_}"
        if not self._replied:
            return "before its first task"
        return f"after {self._replied} task{'s' if self._replied > 1 else ''}"

    def use(self, exchange: Exchange) -> None:
        """Convert what comes and goes."""
        self._exchange = exchange

    def observe(self, observers: Sequence[Observer], recipe: Mapping[str, Any]) -> None:
        """Let observers learn what happens here, before anything does, and with which parameters."""
        folder = self.folder.path.absolute()
        run = ObservedRun(self._job_name, self.job_id, self.site, folder, self.events, self.warn, recipe)
        attach_observers(observers, run)

    def serve(self, executor: Executor) -> None:
        """Have the executor do the tasks until the run is over."""
        outcome, error = RunStatus.FINISHED, ""
        try:
            self.events.emit(RunStarted(self._job_name, (self.site,)))
            executor.run(self)
        except BaseException as problem:
            first = problem.__cause__ if isinstance(problem, SiteError) else problem  # it is a script's that meets it
            is_lost = isinstance(first, PeerLostError | UnreachableError)
            outcome, error = RunStatus.ABORTED if is_lost else RunStatus.FAILED, str(problem)
            raise
        finally:
            self.close(outcome, error)

    def close(self, outcome: RunStatus, error: str) -> None:
        """Tell the observers, if they do not know it, that the run is over; returns when they are done with it."""
        with self._ending:
            if not self._observers_know:
                self._observers_know = True
                self.events.emit(RunEnded(outcome, error))

    def deliver(self, decode: Callable[[], Task]) -> None:
        """Take a task that has come; called by the thread that reads the link."""
        self._inbox.append((decode, self._withdrawals))
        self.turns.wake(self.seat)

    def withdraw(self) -> None:
        """Forget the tasks that have come, as their results are not wanted any more; on the thread of deliver."""
        with self._told:
            self._withdrawals += 1
            self._inbox.clear()
            self._told.notify_all()

    def leaves_out(self, error: DownloadError) -> bool:
        """Whether the task taken last, whose model cannot be fetched, is not wanted any more; then it is forgotten.

        If the server has let go of the model, it has said why, or is about to; but that comes over another lane, maybe
        later. So this waits for it.
        """
        task = self._task
        is_gone = isinstance(error, UnknownReferenceError) and task is not None and not task.result_stays
        with self._told:
            if is_gone:
                self._told.wait_for(lambda: self._is_withdrawn or self._over)
            if not self._is_withdrawn and not (is_gone and self._over):
                return False
        self._task = None
        return True

    @property
    def _is_withdrawn(self) -> bool:
        return self._withdrawals > self._withdrawals_before

    def end(self) -> None:
        """Take note that no task will come any more."""
        with self._told:
            self._over = True
            self._told.notify_all()
        self.turns.wake(self.seat)

    def has_news(self) -> bool:
        """Whether a task is there, or the run is over."""
        return bool(self._inbox) or self._over

    def owes_task(self) -> bool:
        """Whether a task is there that was not answered, or not even taken."""
        return self._task is not None or bool(self._inbox)

    def owes_reply(self) -> bool:
        """Whether a task that was taken is unanswered, or one comes before the run is over."""
        if self._task is None:
            self.turns.wait(self.seat, self.has_news)
        return self.owes_task()

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:  # past tasks that are withdrawn before their models are here
            if not self._inbox:
                self.turns.wait(self.seat, self.has_news, None if until is None else until - time.monotonic())
            try:
                task = self.take()
                if task is not None:
                    self._materialize(task.model)
                    break
            except DownloadError as error:
                if not self.leaves_out(error):
                    raise
                continue
            if self._over or until is not None:
                return None
        if self._exchange is not None:
            task.model = self._exchange.to_script(task)
        if self._journal is not None:
            self._journal.begin(task.id)
        return task

    def take(self) -> Task | None:
        """Take a task that is there, with params that are fetched when they are read.

        If the result stays here and the model cannot be fetched, the server is told in ``meta["lost"]`` of a reply, and
        may find it elsewhere; the task is done with.
        """
        try:
            decode, self._withdrawals_before = self._inbox.popleft()
        except IndexError:  # none was there, or it was withdrawn a moment ago
            return None
        task = self._task = decode()
        self._round = task.model.current_round
        if task.result_stays:  # then the model may be at other sites, which can be lost
            try:
                task.model.params = self.peers.fetch([task.model.params, *task.model.meta.pop(MetaKey.ALSO_AT, [])])
            except DownloadError as error:
                self.send_reply(FLModel(meta={"lost": str(error)}))
                return None
        task.model = receive_params(task.model, self.cell)
        self._lazy = task.model.params if isinstance(task.model.params, LazyParams) else None
        if self._memory is not None:
            self._memory.begin()
        if self._task_filters:
            task.model = apply_filters(self._task_filters, task.model, self._context(FilterPoint.CLIENT_INPUT, task))
        return task

    def reply(self, model: FLModel) -> None:
        if self._exchange is not None:
            model = self._exchange.from_script(model, self.site)
        if self._journal is not None and self._task is not None:
            self._journal.end(self._task.id)
        offer = self.send_reply(model)
        if offer is not None:
            fetched = threading.Event()

            def wake() -> None:
                fetched.set()
                self.turns.wake(self.seat)

            offer.when_released(wake)
            self.turns.wait(self.seat, fetched.is_set)

    def send_reply(self, model: FLModel) -> Offer | None:
        """Answer the current task; the returned offer is released when the server has read all tensors."""
        task = self._task
        assert task is not None, "a reply without a task"
        for key, value in (model.metrics or {}).items():
            self.events.emit(MetricLogged(key, value, self._round, self.site))
        if self._result_filters:
            model = self._filtered(model, task)
        offer: Offer | None = None
        if task.result_stays:
            outgoing = self.peers.keep(model, copies=self._exchange is not None)
        else:
            outgoing, offer = send_params(model, self.downloader, memory=self._memory)
        self._task = None
        self._replied += 1
        self.cell.send(self._server, "result", [task.id, self.site, outgoing])
        return offer

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        self.cell.send(self._server, "log", [self.site, key, value, kind, step, self._round])
        self.events.emit(MetricLogged(key, value, self._round, self.site, step, kind))

    def warn(self, text: str) -> None:
        """Show a warning to the people who watch the run."""
        self.note(f"warning: {text}")
        try:
            self.cell.send(self._server, "warning", [self.site, text])
        except TransportError as error:
            logger.warning("warning not sent site=%s text=%s reason=%s", self.site, text, error)

    def _filtered(self, model: FLModel, task: Task) -> FLModel:
        context = self._context(FilterPoint.CLIENT_OUTPUT, task)
        if model.params is None:  # nothing that a filter could remember
            return apply_filters(self._result_filters, model, context)
        self._filter_states.begin(task)
        model = apply_filters(self._result_filters, model, context)
        self._filter_states.end(task)
        return model

    def note(self, text: str) -> None:
        """Write a line into the site's log; where the disk is full, what it is about goes on without."""
        try:
            self.folder.log.write(f"{text}\n")
            self.folder.log.flush()
        except OSError as error:
            logger.warning("not written into the log of the site site=%s text=%s reason=%s", self.site, text, error)

    def _context(self, point: FilterPoint, task: Task) -> FilterContext:
        return FilterContext(point, self.site, task.name, task.model.current_round)

    def release_task(self) -> None:
        """Let the server drop what the task taken last was fetched from."""
        if self._lazy is not None:
            self._lazy.release()
            self._lazy = None

    def _materialize(self, model: FLModel) -> None:
        params = model.params
        if isinstance(params, LazyParams):
            limit = self.downloader.settings.spill_bytes
            spill = self.folder.path / RECEIVED if limit is not None and params.nbytes > limit else None
            model.params = params.materialize(self._memory, spill)
        elif params is not None and type(params) is not dict:
            model.params = unflatten(dict(flatten(params)))
        self.release_task()


def _variables(plan: WorkerPlan, folder: SiteFolder) -> dict[str, str]:
    """Return the environment variables that the script has in addition to those of the process."""
    variables = {}
    # Sites that share a process are given their folder through tempfile.tempdir alone.
    if folder.temporary is not None and len(plan.sites) == 1:
        variables["TMPDIR"] = str(folder.temporary)
    if plan.connect is None:
        # Simulated sites share the cores among themselves, and sums must not depend on how many each happens to get.
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return variables


def _nothing() -> None:
    """A script in a process of its own has its own process-wide state."""
