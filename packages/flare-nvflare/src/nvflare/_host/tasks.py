"""Communicator: gives a controller's tasks to the sites of a run, and the answers to the controller.

The controller has a thread of its own, since it may wait for anything. The workflow's thread, the only one that may use
the federation, sends what the controller has asked for and calls its callbacks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from flare_core import FlareError, FLModel, JobAborted, JobError, Reply, Sample
from flare_runtime.run.federation import SitesFederation
from nvflare._host.engine import Engine, peer_context, peer_props
from nvflare._host.standing import Answer, Standing
from nvflare._host.wire import incoming, task_data
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task, TaskCompletionStatus
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_copy
from nvflare.app_common.app_constant import AppConstants

T = TypeVar("T")
_GOOD = (None, "", ReturnCode.OK)


class Communicator:
    """Serves one controller in a run.

    Args:
        fed: the federation.
        engine: the server's engine.
        continues_with: the round with which a controller begins that was restored.
    """

    def __init__(self, fed: SitesFederation, engine: Engine, continues_with: int | None = None) -> None:
        self._fed = fed
        self._engine = engine
        self._tasks: list[Standing] = []
        self._changed = threading.Condition()
        self._thread = threading.current_thread()
        self._over: BaseException | None = None
        self._pending: set[threading.Event] = set()  # of calls that the workflow's thread has not answered yet
        self._rounds: Iterator[int] | None = None
        self._bad: list[tuple[str, str, str, Answer]] = []
        self._timers: list[threading.Timer] = []
        self._continues_with = continues_with

    # On the controller's thread

    def broadcast(self, task: Task, targets: Any, least: int, extra_s: float) -> None:
        """Give a task to several sites."""
        self._add(Standing(task, targets, least, extra_s))

    def broadcast_forever(self, task: Task, targets: Any) -> None:
        """Give a task to sites until it is cancelled."""
        self._add(Standing(task, targets, 0, 0, forever=True))

    def send(self, task: Task, targets: Any) -> None:
        """Give a task to one of several sites."""
        self._add(Standing(task, targets, 1, 0, only_one=True))

    def relay(self, task: Task, targets: Any, limit_s: float) -> None:
        """Give a task to one site after the other."""
        self._add(Standing(task, targets, 0, 0, in_turn=True, limit_s=limit_s))

    def wait(self, task: Task, abort_signal: Any = None) -> None:
        """Wait until no more answers to a task are awaited.

        Raises:
            JobAborted: the run is over.
        """
        standing = next((each for each in self._tasks if each.task is task), None)
        if standing is not None:
            standing.done.wait()
        if self._over is not None:
            raise JobAborted(f"the run ended while the task '{task.name}' was awaited") from self._over
        if task.exception is not None:
            raise task.exception

    def standing(self) -> int:
        """Return the number of standing tasks, after waiting a little for one of them to end."""
        with self._changed:
            if count := len(self._tasks):
                self._changed.wait_for(lambda: len(self._tasks) < count or self._over is not None, timeout=0.5)
            if self._over is not None:
                raise JobAborted("the run is over") from self._over
            return len(self._tasks)

    def cancel(self, task: Task, status: TaskCompletionStatus) -> None:
        """Await no more answers to a task."""
        for standing in [each for each in self._tasks if each.task is task]:
            self.call(partial(self._end, standing, status))

    def cancel_all(self, status: TaskCompletionStatus) -> None:
        """Await no more answers."""
        for standing in list(self._tasks):
            self.call(partial(self._end, standing, status))

    def call(self, do: Callable[[], T]) -> T:
        """Let the workflow's thread do something, and return what it returns.

        Raises:
            JobAborted: the run is over.
        """
        if threading.current_thread() is self._thread:
            return do()
        result: list[T] = []
        problem: list[BaseException] = []
        ready = threading.Event()

        def handle() -> None:
            try:
                result.append(do())
            except BaseException as error:
                problem.append(error)
                if isinstance(error, FlareError):
                    raise
            finally:
                ready.set()

        with self._changed:
            if self._over is not None:
                raise JobAborted("the run is over") from self._over
            self._pending.add(ready)
        self._fed.call(handle)
        ready.wait()
        with self._changed:
            self._pending.discard(ready)
        if problem:
            raise problem[0]
        if not result:
            raise JobAborted("the run is over") from self._over
        return result[0]

    def keep(self, model: FLModel, name: str, metric: float | None = None) -> None:
        """Let Flare store a checkpoint, ``global`` or ``best``, with the metric that has chosen it."""
        if name == "best" and metric is None:
            return  # a component's own event, which does not say how good the model is
        self.call(lambda: self._fed.save(model, name=name, metric=metric))

    def _add(self, standing: Standing) -> None:
        task = standing.task
        if task.schedule_time is not None:
            raise ValueError(f"the task '{task.name}' was given to sites before; make a new Task for each time")
        task.schedule_time, task.is_standing = time.time(), True
        with self._changed:
            if self._over is not None:
                raise JobAborted("the run is over") from self._over
            self._tasks.append(standing)
        self.call(lambda: self._start(standing))

    # On the workflow's thread

    def serve(self, control: Callable[[], None]) -> None:
        """Run a controller on a thread of its own, and serve it until it returns."""
        problem: list[BaseException] = []
        finished = threading.Event()

        def work() -> None:
            try:
                control()
            except BaseException as error:
                problem.append(error)
            finally:
                finished.set()
                self._fed.call(_nothing)

        thread = threading.Thread(target=work, name="nvflare-controller", daemon=True)
        thread.start()
        try:
            while not finished.is_set():
                if not self._progress() and not finished.is_set():
                    self._wait()
            for standing in list(self._tasks):
                self._end(standing, TaskCompletionStatus.CANCELLED)
        except BaseException as error:
            self._stop(error)
            thread.join(10)
            if self._engine.panic is not None and isinstance(error, FlareError):
                raise self._engine.panic from error
            raise
        finally:
            for timer in self._timers:
                timer.cancel()
        if problem:
            raise problem[0]
        if self._engine.panic is not None:
            raise self._engine.panic
        self.check_answers()

    def check_answers(self) -> None:
        """Check that the controller has looked at the answers that tell of failures.

        Raises:
            FlareError: it has not.
        """
        for site, task, code, answer in self._bad:
            if not answer.was_seen:
                text = Shareable.get_header(answer, ReservedHeaderKey.ERROR) or f"see the log of {site}"
                raise FlareError(
                    f"{site} answered the task '{task}' with {code} ({text}), and the controller did not look at it;"
                    " let the executor raise an exception, or the controller check result.get_return_code()"
                )

    def _stop(self, error: BaseException) -> None:
        self._engine.abort_signal.trigger(str(error))
        with self._changed:
            self._over = error
            for ready in self._pending:
                ready.set()
            for standing in self._tasks:
                standing.task.completion_status = TaskCompletionStatus.ABORTED
                standing.done.set()
            self._changed.notify_all()

    def _progress(self) -> bool:
        """Handle what has arrived; return True if there was something."""
        is_new = False
        for standing in list(self._tasks):
            conversation = standing.open
            if conversation is not None:
                for site in list(conversation.arrived):
                    for reply in self._fed.take(conversation, site):
                        is_new = True
                        self._receive(standing, reply)
                if standing in self._tasks:
                    self._settle(standing)
        return is_new

    def _wait(self) -> None:
        awaiting = [each.open for each in self._tasks if each.open is not None and each.open.awaited]
        if awaiting:
            absent = self._fed.roster.absent
            first = next((each for each in awaiting if set(each.awaited) & set(absent)), awaiting[0])
            self._fed.await_reply(first)
        else:
            self._fed.wait("the controller's own work")

    def _wake_at(self, moment: float) -> None:
        timer = threading.Timer(max(0.0, moment - time.monotonic()), self._fed.call, [_nothing])
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _start(self, standing: Standing) -> None:
        self._begin_round(standing.task.data)
        sites = standing.targets or list(self._fed.sites)
        if standing.least > 0 and standing.targets is None and not standing.only_one:
            sites = list(self._fed.sample(standing.least))
        if standing.only_one and len(sites) > 1:
            there = [site for site in self._fed.sample(1) if site in sites]
            sites = (there or sites)[:1]
        standing.wanted = min(standing.least, len(sites)) or len(sites)
        if standing.task.timeout:
            standing.ends_at = time.monotonic() + standing.task.timeout
            self._wake_at(standing.ends_at)
        if standing.in_turn:
            standing.waiting.extend(sites[1:])
            sites = sites[:1]
        standing.task.targets = sites
        self._give(standing, sites)

    def _give(self, standing: Standing, sites: list[str]) -> None:
        task, data = standing.task, {}
        shared: Any = None
        before: Shareable | None = None
        for site in sites:
            client_task = ClientTask(Client(site, site), task)
            context = self._context(site, task)
            standing.client_tasks[site] = client_task
            task.client_tasks.append(client_task)
            task.last_client_task_map[site] = client_task
            self._engine.fire_event(EventType.BEFORE_PROCESS_TASK_REQUEST, context)
            if task.before_task_sent_cb is not None:
                task.before_task_sent_cb(client_task, context)
            given = task.data
            if shared is None or before is not given or task.before_task_sent_cb is not None:
                shared = self._outgoing(given, task)
            before, data[site] = given, shared
            client_task.task_sent_time, client_task.task_send_count = time.time(), client_task.task_send_count + 1
            if task.after_task_sent_cb is not None:
                task.after_task_sent_cb(client_task, context)
            self._engine.fire_event(EventType.AFTER_PROCESS_TASK_REQUEST, context)
            if not self._engine.has_filters("task_data_filters", task.name):
                for event in (EventType.BEFORE_TASK_DATA_FILTER, EventType.AFTER_TASK_DATA_FILTER):
                    self._engine.fire_event(event, context)
        same = len({id(each) for each in data.values()}) == 1
        quorum = min(standing.wanted, len(sites)) if not standing.in_turn else len(sites)
        deadline = standing.limit_s or None
        if same:
            to = Sample(sites, quorum)
            standing.open = self._fed.ask(task.name, shared, to=to, quorum=quorum, deadline_s=deadline)
        else:
            standing.open = self._fed.scatter(task.name, data, quorum=quorum, deadline_s=deadline)

    def _outgoing(self, given: Shareable, task: Task) -> Any:
        copied = make_copy(given)
        copied.set_header(ReservedHeaderKey.TASK_NAME, task.name)
        copied.set_header(ReservedHeaderKey.TASK_ID, task.task_id)
        return task_data(copied)

    def _receive(self, standing: Standing, reply: Reply) -> None:
        """Give one answer to the controller."""
        task, client_task = standing.task, standing.client_tasks[reply.site]
        self._note_metrics(standing, reply)
        found = incoming(reply.data, str(self._engine.variables.get("server_form", "")))
        result = Answer(found)
        result[ReservedHeaderKey.HEADERS] = dict(found.get(ReservedHeaderKey.HEADERS) or {})
        sent = task.data
        if result.get_cookie_jar() is None and sent.get_cookie_jar() is not None:
            result.set_cookie_jar(dict(sent.get_cookie_jar()))
        result.set_header(ReservedHeaderKey.TASK_NAME, task.name)
        result.set_header(ReservedHeaderKey.TASK_ID, client_task.id)
        result.set_peer_props(peer_props(reply.site, self._engine.job_id))
        code = Shareable.get_header(result, ReservedHeaderKey.RC)
        if code not in _GOOD:
            self._bad.append((reply.site, task.name, str(code), result))
            self._fed.warn(f"answered the task '{task.name}' with {code}", site=reply.site)
        client_task.result, client_task.result_received_time = result, time.time()
        standing.answers += 1
        context = self._context(reply.site, task)
        context.set_prop(FLContextKey.TASK_RESULT, result, private=True, sticky=False)
        context.get_peer_context().put(FLContextKey.SHAREABLE, result, private=True, sticky=False)
        if not self._engine.has_filters("task_result_filters", task.name):
            for event in (EventType.BEFORE_TASK_RESULT_FILTER, EventType.AFTER_TASK_RESULT_FILTER):
                self._engine.fire_event(event, context)
        self._engine.fire_event(EventType.BEFORE_PROCESS_SUBMISSION, context)
        if task.result_received_cb is not None:
            task.result_received_cb(client_task, context)
        self._engine.fire_event(EventType.AFTER_PROCESS_SUBMISSION, context)
        reply.release()
        if standing.forever:
            self._close(standing)
            self._give(standing, [reply.site])

    def _settle(self, standing: Standing) -> None:
        """End a task if no more answers are awaited, or give it to the next site."""
        now, conversation = time.monotonic(), standing.open
        if conversation is None:
            return
        if standing.ends_at is not None and now >= standing.ends_at:
            enough = standing.answers >= standing.wanted
            self._end(standing, TaskCompletionStatus.OK if enough else TaskCompletionStatus.TIMEOUT)
        elif not conversation.awaited and not conversation.arrived:
            if standing.waiting:
                self._close(standing)
                self._give(standing, [standing.waiting.popleft()])
            else:
                self._end(standing, TaskCompletionStatus.OK)
        elif 0 < standing.least <= standing.answers and not standing.in_turn:
            until = now + standing.extra_s
            if standing.ends_at is None or until < standing.ends_at:
                standing.ends_at = until
                if standing.extra_s > 0:
                    self._wake_at(until)
            if standing.extra_s <= 0:
                self._end(standing, TaskCompletionStatus.OK)

    def _close(self, standing: Standing) -> None:
        conversation, standing.open = standing.open, None
        if conversation is not None:
            conversation.close()

    def _end(self, standing: Standing, status: TaskCompletionStatus) -> None:
        if standing.done.is_set():
            return
        self._close(standing)
        task = standing.task
        task.completion_status, task.is_standing = status, False
        if standing.has_metrics and (means := standing.means.means()):
            self._fed.record(means)
        if task.task_done_cb is not None:
            task.task_done_cb(task, self._context("", task))
        with self._changed:
            if standing in self._tasks:
                self._tasks.remove(standing)
            standing.done.set()
            self._changed.notify_all()

    def _note_metrics(self, standing: Standing, reply: Reply) -> None:
        if not isinstance(reply.data, FLModel) or not reply.data.metrics:
            return
        standing.has_metrics = True
        numbers = standing.means.add(reply)
        if numbers:
            self._fed.record(numbers, site=reply.site)

    def _begin_round(self, data: Shareable) -> None:
        """Announce the round that the data of a task belong to, unless it is the current one."""
        number, total = data.get_header(AppConstants.CURRENT_ROUND), data.get_header(AppConstants.NUM_ROUNDS)
        if not isinstance(number, int) or isinstance(number, bool) or number < 0 or self._fed.round == number:
            return
        expected, self._continues_with = self._continues_with, None
        if expected not in (None, number):
            raise JobError(
                f"the run was continued with round {expected}, but the controller sent the task of round {number}; let"
                " its run() begin with self.start_round or, for another controller, restore() set the next round, and"
                " submit the job again"
            )
        count = max(number + 1, total if isinstance(total, int) else 0)
        is_next = self._rounds is not None and self._fed.round is not None and number == self._fed.round + 1
        if is_next and self._rounds is not None and next(self._rounds, None) is not None:
            return
        if self._tasks and any(each.open is not None for each in self._tasks):
            return  # tasks of another round are under way
        self._fed.end_round()
        self._fed.continue_from(None, number)
        self._rounds = self._fed.rounds(count)
        next(self._rounds)

    def _context(self, site: str, task: Task) -> FLContext:
        context: FLContext = self._engine.new_context()
        context.set_prop(FLContextKey.TASK_NAME, task.name, private=True, sticky=False)
        context.set_prop(FLContextKey.TASK_ID, task.task_id, private=True, sticky=False)
        context.set_prop(FLContextKey.TASK_DATA, task.data, private=True, sticky=False)
        if site:
            context.set_prop(ReservedKey.CLIENT_NAME, site, private=True, sticky=False)
            context.set_peer_context(peer_context(site, self._engine.job_id))
        return context


def _nothing() -> None:
    """Wake the workflow's thread."""
