"""TaskQueue: the tasks for one executor of a site, which are done one after the other."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flare_core import FLModel, Task
from flare_core.executor import SiteChannel
from flare_core.model import MetaKey, flatten, unflatten
from flare_runtime.scripts.exchange import Exchange
from flare_runtime.scripts.journal import Journal
from flare_runtime.scripts.process_state import ProcessState
from flare_runtime.scripts.turns import Seat, Turns
from flare_runtime.site.folder import fetch_params
from flare_runtime.site.site import Site
from flare_tensor_downloader import DownloadError, Offer, UnknownReferenceError
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.payload import Payload, pack_payload
from flare_tensor_downloader.wire import receive_params, send_params


@dataclass(slots=True, eq=False)
class _Delivery:
    """A task that has arrived.

    Attributes:
        number: the task's id.
        decode: decodes the task, into arrays of its own.
        is_withdrawn: its result is no longer wanted.
    """

    number: int
    decode: Callable[[], Task]
    is_withdrawn: bool = False


class TaskQueue(SiteChannel):
    """One executor's channel to the server: it takes a task, does it and replies, before it takes the next.

    The executor's thread calls these methods while it holds the turn; :meth:`deliver`, :meth:`withdraw` and
    :meth:`end` are called by the thread that reads the link, and never block.

    Args:
        context: the site.
        tasks: the names of the tasks for this queue; ``*`` stands for all others.
        turns: the turns that its executor takes with others in this process; None if it is no script in this process.
        journal: lets a restarted script continue as if it had not been killed; None if the run then fails.
        is_filtered: the site's filters apply. Only Flare's own executors, whose models were filtered before, go
            without.
    Attributes:
        exchange: converts the models of tasks and replies; None leaves them as they are.
    """

    def __init__(
        self,
        context: Site,
        tasks: tuple[str, ...] = ("*",),
        *,
        turns: Turns | None = None,
        journal: Journal | None = None,
        is_filtered: bool = True,
    ) -> None:
        self.context = context
        self.tasks = tasks
        self.site = context.name
        self.job_id = context.job_id
        self.config = context.config
        self.turns = turns or Turns()
        self.state = ProcessState(
            folder=context.folder,
            roots=[context.code.root],
            output=context.output,
            seed=context.plan.seed(context.name),
            channel=self,
            variables=_variables(context),
            temporary=context.temporary,
        )
        # What has a process to itself needs no switch of process-wide state.
        self.seat = Seat(context.name, self.state.enter if turns is not None else lambda: None)
        self._is_filtered = is_filtered
        self.exchange: Exchange | None = None
        self._inbox: deque[_Delivery] = deque()
        self._current: _Delivery | None = None
        self._changed = threading.Condition()  # notified when a task is withdrawn and when the run is over
        self._over = False
        self._task: Task | None = None
        self._replied = 0
        self._release: Callable[[], None] = _nothing  # lets the server drop the arrays of the current task
        self._journal = journal
        self._memory = TensorMemory() if context.downloader.settings.skip_unchanged else None

    def takes(self, task: str) -> bool:
        """Return True if tasks of this name are for this queue."""
        return task in self.tasks or "*" in self.tasks

    @property
    def ended(self) -> bool:
        """True if the run is over and every task was taken."""
        return self._over and not self._inbox

    @property
    def passes_tensors_on(self) -> bool:
        """True if tensors pass between server and script unfiltered."""
        return not self._is_filtered or not self.context.has_filters

    @property
    def progress(self) -> str:
        """The executor's progress, for messages."""
        if self._task is not None:
            round_ = self._task.round
            return f"in the task '{self._task.name}'" if round_ is None else f"in round {round_}"
        if not self._replied:
            return "before its first task"
        return f"after {self._replied} task{'s' if self._replied > 1 else ''}"

    def deliver(self, number: int, decode: Callable[[], Task]) -> None:
        """Add a task that has arrived; called by the thread that reads the link."""
        self._inbox.append(_Delivery(number, decode))
        self.turns.wake(self.seat)

    def withdraw(self, number: int) -> None:
        """Drop a task whose result is no longer wanted; called by the thread that reads the link."""
        with self._changed:
            for delivery in (*self._inbox, self._current):
                if delivery is not None and delivery.number == number:
                    delivery.is_withdrawn = True
            self._changed.notify_all()

    def drop_if_withdrawn(self, error: DownloadError) -> bool:
        """Drop the current task, whose data cannot be fetched, if it was withdrawn; return True if it was.

        A server that has dropped the data has withdrawn the task first. But that message takes another lane of the
        link and may arrive later, so this waits for it.
        """
        current, task = self._current, self._task
        is_gone = isinstance(error, UnknownReferenceError) and task is not None and not task.result_stays
        with self._changed:
            if is_gone:
                self._changed.wait_for(lambda: self._over or (current is not None and current.is_withdrawn))
            if not (current is not None and current.is_withdrawn) and not (is_gone and self._over):
                return False
        self._task = None
        return True

    def end(self) -> None:
        """Mark the run as over: no task follows. Called by the thread that reads the link."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.turns.wake(self.seat)

    @property
    def has_waiting_task(self) -> bool:
        """True if a task has arrived that was not taken."""
        return bool(self._inbox)

    def has_news(self) -> bool:
        """Return True if a task has arrived or the run is over."""
        return bool(self._inbox) or self._over

    def owes_task(self) -> bool:
        """Return True if a task has arrived that was not answered or not even taken."""
        return self._task is not None or any(not each.is_withdrawn for each in self._inbox)

    def owes_reply(self) -> bool:
        """Wait for a task or the end of the run; return True if a task is unanswered."""
        while self._task is None:
            self.turns.wait(self.seat, self.has_news)
            if self._over or self.owes_task():
                break
            self._inbox.clear()  # all of them were withdrawn
        return self.owes_task()

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:  # skips tasks that are withdrawn before their data has arrived
            if not self._inbox:
                self.turns.wait(self.seat, self.has_news, None if until is None else until - time.monotonic())
            try:
                task = self.take()
                if task is not None:
                    self._materialize(task)
                    break
            except DownloadError as error:
                if not self.drop_if_withdrawn(error):
                    raise
                continue
            if self._over or (until is not None and time.monotonic() >= until):
                return None
        if self.exchange is not None:
            task.data = self.exchange.to_script(task)
        if self._journal is not None:
            self._journal.begin(task.id)
        return task

    def take(self) -> Task | None:
        """Take a task that has arrived, with arrays that are fetched when they are read; None if there is none.

        If the result stays at the site and the model cannot be fetched, the reply says so in ``meta["lost"]``, and the
        task is done: the server may find the model elsewhere.
        """
        delivery = None
        with self._changed:  # so that a task is never withdrawn between being taken and being current
            while self._inbox and (delivery is None or delivery.is_withdrawn):
                delivery = self._inbox.popleft()
            if delivery is None or delivery.is_withdrawn:
                return None
            self._current = delivery
        task = self._task = delivery.decode()
        self.context.round = task.round
        if isinstance(task.data, Payload):
            self._release = partial(task.data.release, self.context.cell)
            return task
        model = task.model
        if task.result_stays:  # then the model may be kept at other sites, which can be lost
            try:
                model.params = self.context.peers.fetch([model.params, *model.meta.pop(MetaKey.ALSO_AT, [])])
            except DownloadError as error:
                self.send_reply(FLModel(meta={"lost": str(error)}))
                return None
        model = receive_params(model, self.context.cell)
        self._release = model.params.release if isinstance(model.params, RemoteParams) else _nothing
        if self._memory is not None:
            self._memory.begin()
        task.data = self.context.filtered_task(task, model) if self._is_filtered else model
        return task

    def reply(self, data: Any) -> None:
        """Answer the current task; return when the script may change its arrays again.

        That is when the server has read them. If another task arrives before that, the arrays are copied instead: the
        server may read this reply only after the reply to that task.
        """
        if self.exchange is not None:
            data = self.exchange.from_script(data, self.site)
        if self._journal is not None and self._task is not None:
            self._journal.end(self._task.id)  # before the reply is sent, so that a restart knows of every task used
        offer = self.send_reply(data)
        if offer is not None:
            fetched = threading.Event()

            def wake() -> None:
                fetched.set()
                self.turns.wake(self.seat)

            offer.when_released(wake)
            self.turns.wait(self.seat, lambda: fetched.is_set() or self.has_waiting_task)
            if not fetched.is_set():
                offer.copy_arrays()

    def send_reply(self, data: Any) -> Offer | None:
        """Answer the current task; the offer that is returned is released when the server has read all arrays."""
        task = self._task
        assert task is not None, "there is no task to reply to"
        if isinstance(data, FLModel) and data.metrics:
            self.context.note_metrics(data.metrics)
        if self._is_filtered:
            data = self.context.filtered_result(task, data)
        offer: Offer | None = None
        outgoing: FLModel | Payload
        if not isinstance(data, FLModel):
            outgoing, offer = pack_payload(data, self.context.downloader)
        elif task.result_stays:
            outgoing = self.context.peers.keep(data, copies=self.exchange is not None)
        else:
            outgoing, offer = send_params(data, self.context.downloader, memory=self._memory)
        self._task = None
        self._replied += 1
        self.context.cell.send(self.context.plan.server, "result", [task.id, self.site, outgoing])
        return offer

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        self.context.log(key, value, kind=kind, step=step)

    def release_task(self) -> None:
        """Let the server drop the arrays of the current task."""
        release, self._release = self._release, _nothing
        release()

    def _materialize(self, task: Task) -> None:
        """Fetch the data of a task into memory that belongs to the script."""
        if isinstance(task.data, Payload):
            data = task.data.read(self.context.cell)
            task.data = self.context.filtered_task(task, data) if self._is_filtered else data
        else:
            params = task.model.params
            if isinstance(params, RemoteParams):
                context = self.context
                task.model.params = fetch_params(params, context.downloader, self._memory, context.folder)
            elif params is not None and type(params) is not dict:
                task.model.params = unflatten(dict(flatten(params)))
        self.release_task()


def _nothing() -> None:
    """Release nothing."""


def _variables(context: Site) -> dict[str, str]:
    """Return a script's environment variables in addition to those of the process."""
    variables = {}
    plan = context.plan
    if context.temporary is not None and len(plan.sites) == 1:  # switching it at each turn would take too long
        variables["TMPDIR"] = str(context.temporary)
    if plan.connect is None:
        # Simulated sites share the cores, and sums must not depend on how many each of them happens to get.
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    return variables
