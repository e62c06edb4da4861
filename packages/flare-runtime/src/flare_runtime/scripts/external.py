"""Scripts in processes of their own: started by any command, connected to their site over a Unix socket.

The site relays: the tensors of a task go from the server's cell to the script's range by range, and those of the reply
the other way, so this process never holds the model. Messages between the site's process and the script's:

    script.hello   [site, rank]          ->  {job_id, config, decomposers, folder,
                                              passes_tensors_on, exchange_format, params_transfer_type}
    script.next    [site, rank]              the script asks for its next task
    script.task    [task or null]            the answer: name, id and model; null when the run is over
    script.lost    [site, gone, reason]  ->  true if the task, whose model cannot be fetched, was withdrawn
    script.reply   [site, model]             the script's reply
    script.copy    [site]                    asks the script to copy the arrays of its reply, as another task waits
    script.log     [site, key, value, kind, step]
    script.warn    [site, text]              a warning, which is shown where the run is watched
    script.left    [site, rank]              the thread that took the tasks has ended; others may keep the process alive
"""

from __future__ import annotations

import logging
import secrets
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from flare_core import FLModel, Task
from flare_core.client.session import CHANNEL_VARIABLE
from flare_runtime.errors import ScriptError, ScriptKilledError
from flare_runtime.processes.scratch import make_scratch
from flare_runtime.scripts.process import LINGER_S, ScriptProcess
from flare_tensor_downloader import DownloadError, Offer, UnknownReferenceError
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.wire import receive_params, send_params
from flare_transport import Cell, Message, PeerLostError, UnreachableError, blocking

if TYPE_CHECKING:
    from flare_runtime.scripts.task_queue import TaskQueue

logger = logging.getLogger(__name__)

ADDRESS_VARIABLE = "FLARE_CHANNEL_ADDRESS"
SECRET_VARIABLE = "FLARE_CHANNEL_SECRET"
HOST_VARIABLE = "FLARE_CHANNEL_HOST"
SITE_VARIABLE = "FLARE_SITE"

EXIT_S = 30.0
"""How long a process may outlive the thread that took tasks: a launcher of several ranks ends the others first."""


class ScriptHost:
    """Serves the scripts that a worker process has started; one for each cell."""

    _by_cell: ClassVar[dict[Cell, ScriptHost]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.secret = secrets.token_bytes(32)
        self.scripts: dict[str, _Script] = {}
        self._folder = make_scratch()
        self.address = cell.listen(f"unix://{self._folder}/scripts", secret=self.secret)
        cell.handle("script.hello", lambda message: self._of(message).hello())
        cell.handle("script.lost", self._on_lost)
        self._queue("script.next", _Script.on_next)
        self._queue("script.reply", _Script.on_reply)
        self._queue("script.warn", lambda script, message: script.queue.context.warn(message.payload[1]))
        self._queue("script.left", _Script.on_left)
        self._queue("script.log", _Script.on_log)
        cell.on_peer_lost(self._lost)

    @classmethod
    def of(cls, cell: Cell) -> ScriptHost:
        """Return the host of a cell, which is created by the first call."""
        with cls._lock:  # the threads of several sites call this at the same time
            if cell not in cls._by_cell:
                cls._by_cell[cell] = cls(cell)
            return cls._by_cell[cell]

    @classmethod
    def end_all(cls) -> None:
        """Kill all scripts of this process."""
        for host in cls._by_cell.values():
            for script in list(host.scripts.values()):
                script.kill()
            shutil.rmtree(host._folder, ignore_errors=True)

    def _queue(self, topic: str, handler: Callable[[_Script, Message], None]) -> None:
        """Let the site's thread handle a topic; inline, so that messages are queued in the order of arrival."""

        def put(message: Message) -> None:
            script = self._of(message)
            script.put(partial(handler, script, message))

        self.cell.handle(topic, put, inline=True)

    def _on_lost(self, message: Message) -> bool:
        _, is_gone, reason = message.payload
        error = UnknownReferenceError(reason) if is_gone else DownloadError(reason)
        with blocking():
            return self._of(message).may_drop_task(error)

    def _of(self, message: Message) -> _Script:
        site = message.payload[0]
        script = self.scripts.get(site)
        if script is None or not message.sender.startswith(f"{self.cell.name}.{site}."):
            raise UnreachableError(f"{message.sender} is not a script of {site!r}")
        return script

    def _lost(self, peer: str, error: BaseException | None) -> None:
        for script in list(self.scripts.values()):
            if peer == f"{script.prefix}rank-0":
                script.put(script.note_left)
            elif peer.startswith(script.prefix):
                script.wake()


def run_external(queue: TaskQueue, command: list[str], settings: dict[str, str], import_from: list[Path]) -> None:
    """Run a script in its own process until it ends; the calling thread relays its tasks and replies.

    Args:
        queue: the tasks of the script's site.
        command: the command line.
        settings: the script's array format and transfer type, which it gets when it connects.
        import_from: folders of modules that precede the job's code on the import path.
    Raises:
        ScriptError: it could not be started, or ended with an exit code other than 0.
        ScriptKilledError: it was killed by SIGKILL.
    """
    host = ScriptHost.of(queue.context.cell)
    script = host.scripts[queue.site] = _Script(queue, host, settings)
    variables = {
        CHANNEL_VARIABLE: "flare_runtime.scripts.external_channel:connect",
        ADDRESS_VARIABLE: host.address,
        SECRET_VARIABLE: host.secret.hex(),
        HOST_VARIABLE: host.cell.name,
        SITE_VARIABLE: queue.site,
    }
    try:
        script.process = ScriptProcess(queue.context, command, variables, import_from, script.note_exit)
        script.serve(script.process)
    finally:
        del host.scripts[queue.site]
        script.kill()


@dataclass(slots=True)
class _Rank:
    peer: str
    taken: int = 0
    is_waiting: bool = False


@dataclass(slots=True)
class _Script:
    """One script's process. The link's thread queues events, which the site's thread handles in :meth:`serve`."""

    queue: TaskQueue
    host: ScriptHost
    settings: dict[str, str]
    process: ScriptProcess | None = None
    _events: deque[Callable[[], None]] = field(default_factory=deque)
    _ranks: dict[int, _Rank] = field(default_factory=dict)
    _tasks: list[Task] = field(default_factory=list)
    _unread: Offer | None = None  # the arrays of the last reply, until the server has read them
    _left_at: float | None = None  # when rank 0, which takes the tasks, stopped doing so

    @property
    def prefix(self) -> str:
        """The beginning of the names of the script's cells; it has one for each rank."""
        return f"{self.host.cell.name}.{self.queue.site}."

    def serve(self, process: ScriptProcess) -> None:
        """Relay until the process has ended and its links are closed, so that its last reply is not lost.

        Raises:
            ScriptError: it ended with an exit code other than 0, or does not end.
        """
        while True:
            self.queue.turns.wait(self.queue.seat, self._has_work, self._patience_s())
            while self._events:
                self._events.popleft()()
            self._give_tasks()
            self._free_script()
            if self._has_gone() and not self._events:
                break
            if self._is_stuck():
                cause = "other ranks keep" if len(self._ranks) > 1 else "a thread or a child of it keeps"
                raise ScriptError(
                    f"{self.queue.site}: its script has left {self.queue.progress} before the run was over, and its"
                    f" process, which {cause} alive, does not end; keep it in its 'while flare.is_running():' loop"
                    " until that is false",
                    site=self.queue.site,
                    details=process.tail(),
                )
        code = process.code
        if code != 0:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            problem = ScriptKilledError if code == -signal.SIGKILL else ScriptError
            text = f"{self.queue.site}: its script {how} {self.queue.progress}"
            raise problem(text, site=self.queue.site, details=process.tail())

    def hello(self) -> dict[str, Any]:
        return {
            "job_id": self.queue.job_id,
            "config": self.queue.config,
            "passes_tensors_on": self.queue.passes_tensors_on,
            "decomposers": self.queue.context.decomposers,
            "folder": str(self.queue.context.folder),
            **self.settings,
        }

    def may_drop_task(self, error: DownloadError) -> bool:
        """Return True if the script may drop its task; with several ranks it may not, as the others have begun it."""
        return len(self._ranks) == 1 and self.queue.drop_if_withdrawn(error)

    def put(self, event: Callable[[], None]) -> None:
        """Queue an event; thread-safe."""
        self._events.append(event)
        self.wake()

    def wake(self) -> None:
        self.queue.turns.wake(self.queue.seat)

    def kill(self) -> None:
        """End the process and its children."""
        if self.process is not None:
            self.process.kill()

    def note_exit(self) -> None:
        """Handle the end of the process; the links that its children hold open are closed a while later."""
        self.wake()
        timer = threading.Timer(LINGER_S, self._disconnect)
        timer.daemon = True
        timer.start()

    def _has_work(self) -> bool:
        if self._events or self._has_gone() or self._is_stuck() or self._is_holding_up():
            return True
        return any(rank.is_waiting and self._is_due(number, rank) for number, rank in self._ranks.items())

    def _patience_s(self) -> float | None:
        """Return how long to wait for news: until EXIT_S after rank 0 has left, otherwise without limit (None)."""
        left_s = 0.0 if self._left_at is None else self._left_at + EXIT_S - time.monotonic()
        return left_s if left_s > 0 else None

    def _is_stuck(self) -> bool:
        """Return True if a task will never be taken, because the process neither takes tasks nor ends."""
        is_late = self._left_at is not None and time.monotonic() >= self._left_at + EXIT_S
        return is_late and not self._has_exited and not self.queue.ended and self.queue.owes_task()

    def _is_due(self, number: int, rank: _Rank) -> bool:
        if number == 0:
            return self.queue.has_news()
        return rank.taken < len(self._tasks) or self.queue.ended

    @property
    def _has_exited(self) -> bool:
        return self.process is not None and self.process.has_ended.is_set()

    def _has_gone(self) -> bool:
        """Return True if the process has ended and nothing is linked to this one."""
        return self._has_exited and not any(peer.startswith(self.prefix) for peer in self.host.cell.peers)

    def _is_holding_up(self) -> bool:
        """Return True if the script waits until its reply was read, and another task, which may come first, waits."""
        return self._unread is not None and self.queue.has_waiting_task

    def on_left(self, message: Message) -> None:
        if message.payload[1] == 0:
            self.note_left()

    def note_left(self) -> None:
        """Record that nothing in the process of rank 0 asks for tasks any more."""
        self._left_at = self._left_at or time.monotonic()

    def on_next(self, message: Message) -> None:
        number = message.payload[1]
        rank = self._ranks.setdefault(number, _Rank(message.sender))
        rank.peer, rank.is_waiting = message.sender, True
        if number == 0:
            self._left_at = None  # another thread takes tasks now, or a launcher has restarted the rank

    def on_reply(self, message: Message) -> None:
        model = receive_params(message.payload[1], self.host.cell)
        theirs = model.params
        try:
            offer = self.queue.send_reply(model)
        except DownloadError as error:
            if self._has_died(error):
                return  # serve() reports how it died
            raise
        if isinstance(theirs, RemoteParams):
            if offer is None:
                theirs.release()
            else:
                self._unread = offer
                offer.when_released(partial(self._read, offer, theirs))

    def _read(self, offer: Offer, theirs: RemoteParams) -> None:
        if self._unread is offer:
            self._unread = None
        theirs.release()

    def _free_script(self) -> None:
        """Ask the script to copy the arrays of its reply if another task waits, which the server may need first."""
        if self._is_holding_up() and 0 in self._ranks:
            self._unread = None
            self._send(self._ranks[0], "script.copy", [self.queue.site])

    def _has_died(self, error: DownloadError) -> bool:
        """Return True if a reply could not be read because the script's process was killed or failed."""
        is_cut = isinstance(error.__cause__, PeerLostError | UnreachableError)
        process = self.process
        return is_cut and process is not None and process.has_ended.wait(EXIT_S) and process.code != 0

    def on_log(self, message: Message) -> None:
        _, key, value, kind, step = message.payload
        self.queue.log(key, value, kind=kind, step=step)

    def _give_tasks(self) -> None:
        for number, rank in sorted(self._ranks.items()):
            if not rank.is_waiting or not self._is_due(number, rank):
                continue
            task = self._task_for(number, rank)
            if task is None and number == 0 and not self.queue.ended:  # it was withdrawn a moment ago
                continue
            rank.is_waiting = False
            rank.taken += 1
            if task is None:
                self._send(rank, "script.task", [None])
                continue
            outgoing, offer = send_params(task.model, self.queue.context.downloader)
            if offer is None:
                self.queue.release_task()
            else:
                offer.when_released(self.queue.release_task)
            self._send(rank, "script.task", [[task.name, task.id, outgoing]])

    def _send(self, rank: _Rank, topic: str, payload: list[Any]) -> None:
        try:
            self.host.cell.send(rank.peer, topic, payload)
        except (PeerLostError, UnreachableError) as error:  # it has just died; serve() reports its exit code
            logger.info("message not sent peer=%s topic=%s reason=%s", rank.peer, topic, error)

    def _task_for(self, number: int, rank: _Rank) -> Task | None:
        if number != 0:  # the other ranks get the tasks that rank 0 was given, without the model
            return self._tasks[rank.taken] if rank.taken < len(self._tasks) else None
        task = self.queue.take()
        if task is not None:
            model = task.model
            known = FLModel(current_round=model.current_round, total_rounds=model.total_rounds)
            self._tasks.append(Task(task.name, known, task.id))
        return task

    def _disconnect(self) -> None:
        """Close the links that children of the ended process hold open."""
        for peer in self.host.cell.peers:
            if peer.startswith(self.prefix):
                self.host.cell.disconnect(peer)
        self.wake()
