"""The worker: a process that serves one or more sites."""

from __future__ import annotations

import faulthandler
import logging
import mmap
import os
import shutil
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TextIO

from flare_core import Executor, JobError, Observer, RunStatus, Service, SiteError, Task
from flare_core.filters import chains
from flare_core.job import ClientApp, ExecutorEntry
from flare_core.parameters import parameters_of
from flare_core.service import components_of
from flare_runtime.endpoint.at_site import SiteHub
from flare_runtime.endpoint.services import Context, Services
from flare_runtime.errors import ScriptKilledError
from flare_runtime.job_code import importable, register_types
from flare_runtime.logs import log_to
from flare_runtime.processes.cores import keep_to_core
from flare_runtime.processes.exit_codes import COMPLETED, KILLED_SCRIPT, LOST_SERVER
from flare_runtime.processes.scratch import make_scratch
from flare_runtime.run.folder import RunFolder
from flare_runtime.scripts.executor import ScriptExecutor
from flare_runtime.scripts.external import ScriptHost
from flare_runtime.scripts.journal import Journal
from flare_runtime.scripts.lanes import Lane
from flare_runtime.scripts.process_state import ProcessState
from flare_runtime.scripts.task_queue import TaskQueue
from flare_runtime.scripts.turns import Seat, Turns
from flare_runtime.site.log import SiteLog
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.site.site import Site
from flare_runtime.site.site_executor import SiteExecutor
from flare_tensor_downloader import Downloader
from flare_transport import Cell, Message, PeerLostError, SocketLink, UnreachableError
from flare_transport.address import speaks_for

logger = logging.getLogger(__name__)

_REPORT_S = 10.0  # for the server to acknowledge a failure


def run_worker(
    plan: WorkerPlan, connection: socket.socket, loaded: Sequence[str] = (), lanes: int | None = None
) -> NoReturn:
    """Serve the plan's sites until their scripts end, then end the process.

    Args:
        plan: the sites and their job.
        connection: the socket to the server.
        loaded: modules of the job's code that the parent had loaded.
        lanes: the descriptor of the lanes' file, if the plan names a lane.
    """
    code = 1
    try:
        _prepare_process(plan, loaded)
        with log_to(RunFolder(plan.run_folder).log, plan.log_config):
            lane = None if plan.lane is None or lanes is None else Lane(lanes, plan.lane)
            code = _Worker(plan, connection, lane).run()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        logger.exception("worker failed index=%s", plan.index)
    finally:
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
        os._exit(code)  # neither the parent's exit handlers nor the scripts' threads may delay the end


def _prepare_process(plan: WorkerPlan, loaded: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent, which ends the workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if plan.connect is None and hasattr(os, "setsid"):
        # So that a script's children can be killed with the process, however it ends. A process group alone would not
        # do: the system stops a background process that reads from a terminal.
        os.setsid()
    keep_to_core(plan.core)
    os.environ.update(plan.environment)
    _redirect_output(RunFolder(plan.run_folder).log)
    faulthandler.enable(plan.crash_file.open("w"), all_threads=False)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)  # workers share the cores, and sums must not depend on how many each gets
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the same for TensorFlow, which no worker has loaded yet
    ProcessState.prepare(plan.code_roots, loaded)


def _redirect_output(log: Path) -> None:
    """Redirect the output of C code to the run's log; what scripts print goes to their sites' logs."""
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.close(null)


@dataclass(frozen=True, slots=True)
class _Part:
    """An executor with its task queue."""

    executor: Executor | SiteExecutor | ScriptExecutor
    queue: TaskQueue


class _Worker:
    def __init__(self, plan: WorkerPlan, connection: socket.socket, lane: Lane | None) -> None:
        self._plan = plan
        self._cell = Cell(plan.name)
        self._downloader = Downloader(self._cell)
        self._hub = SiteHub(self._cell, plan.server, plan.sites)
        self._services: dict[str, Services] = {}
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._is_lost = False
        self._is_cut_off = False  # a site could not reach the server, so the worker has not served to the end
        self._turn = mmap.mmap(os.open(plan.turn_file, os.O_RDWR), 0)
        self._index = {name: index for index, name in enumerate(plan.sites)}
        self._turns = Turns(self._announce, lane)
        self._sites: dict[str, Site] = {}
        self._parts: dict[str, list[_Part]] = {name: [] for name in plan.sites}
        self._link = SocketLink(plan.link_to, connection)
        # Simulated sites share a machine, so each has a folder of its own for temporary files.
        self._scratch = make_scratch() if plan.connect is None else None

    def run(self) -> int:
        """Serve until all scripts have ended; return the exit code of the process."""
        # Inline handlers run on the link's thread, so messages take effect in the order in which the server sent them.
        for topic, handler in (("task", self._on_task), ("withdraw", self._on_withdraw), ("end", self._on_end)):
            self._cell.handle(topic, self._from_server(handler), inline=True)
        self._cell.on_peer_lost(self._peer_lost)
        self._cell.attach(self._link, uplink=self._plan.connect is None)
        if self._plan.connect is not None:
            self._plan.connect(self._cell)
            self._downloader.seals = self._hub.seals = True
        try:
            self._prepare()
        except (PeerLostError, UnreachableError):  # before the link's thread has noticed the loss
            logger.exception("server lost before the sites were ready")
            self._stop_services("the server is gone")
            return LOST_SERVER
        parts = self._all_parts()
        self._left = len(parts)
        threads = [
            threading.Thread(target=self._serve, args=(part,), name=f"flare-site-{part.queue.site}", daemon=True)
            for part in parts
        ]
        for part in parts:  # all of them, before any starts: the first turns are in the order of the sites
            if part.queue.turns is self._turns:
                part.queue.turns.join(part.queue.seat)
        for site in self._sites.values():
            site.begin()
        for thread in threads:
            thread.start()
        self._cell.send(self._plan.server, "ready", list(self._plan.sites))
        self._finished.wait()
        self._stop_services("the run is over")
        for site in self._sites.values():
            site.end(RunStatus.FINISHED, "")
        ScriptHost.end_all()
        for site in self._sites.values():
            site.output.close()
        self._cell.close()
        return LOST_SERVER if self._is_cut_off else COMPLETED

    def _prepare(self) -> None:
        for name in self._plan.sites:
            self._do_or_report(name, partial(self._prepare_site, name))
        self._hub.join()
        for name, services in self._services.items():
            self._do_or_report(name, services.start)
        self._hub.open()

    def _do_or_report(self, name: str, prepare: Callable[[], None]) -> None:
        """Do one step of a site's preparation; if it fails, report that to the server, which fails the run."""
        try:
            with importable(self._plan.job.client_code(name)):
                prepare()
        except Exception as error:
            why = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
            failure = [name, f"{name} could not be prepared: {why}", ""]
            # A request, so that the server gets the reason before it notices the end of this process.
            self._cell.request(self._plan.server, "failed", failure, timeout_s=_REPORT_S)
            raise

    def _stop_services(self, reason: str) -> None:
        all_services = list(self._services.values())  # a lost link can come here while sites are prepared
        for services in all_services:
            services.cancel()
        self._hub.close(reason)
        for services in all_services:
            services.stop()

    def _all_parts(self) -> list[_Part]:
        return [part for parts in self._parts.values() for part in parts]

    def _prepare_site(self, name: str) -> None:
        app = self._plan.job.client_app(name)
        if not app.executors:
            raise JobError(f"the job has no executor for {name}, which could do no task; add one to its client app")
        register_types(self._plan.job)
        journal = None
        if self._scratch is None:
            journal = Journal(self._plan.run_folder / ".workers" / f"{name}.journal", self._plan.seed(name))
        site = self._sites[name] = self._make_site(name, app, None if journal is None else journal.folder)
        components = components_of(app.components)
        site.observe([each for each in components if isinstance(each, Observer)], parameters_of(self._plan.job))
        context = Context(
            party=name,
            job_id=site.job_id,
            config=site.config,
            folder=site.folder,
            local=site.local,
            endpoint=self._hub.endpoint(name),
            send_warning=site.warn,
            send_number=site.log,
            end_run=lambda error: self._report(site, str(error), ""),
        )
        self._services[name] = Services([each for each in components if isinstance(each, Service)], context)
        for entry in app.executors:
            executor = _built(entry)
            takes_turns = isinstance(executor, ScriptExecutor) and not executor.launch_external_process
            queue = TaskQueue(
                site,
                entry.tasks,
                turns=self._turns if takes_turns else None,
                journal=journal if isinstance(executor, ScriptExecutor) else None,
                is_filtered=not isinstance(executor, SiteExecutor),
            )
            self._parts[name].append(_Part(executor, queue))

    def _make_site(self, name: str, app: ClientApp, states_folder: Path | None) -> Site:
        path = RunFolder(self._plan.run_folder).site(name)
        temporary: Path | None = None
        log: TextIO
        if self._scratch is not None:
            temporary = self._scratch / str(self._index[name])  # short, since the path of a socket is limited
            temporary.mkdir()
            log = (path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        else:  # the server is elsewhere and cannot read the file
            log = SiteLog(path / "log.txt", partial(self._cell.send, self._plan.server, "site.log"), name)
        return Site(
            name,
            self._plan,
            cell=self._cell,
            downloader=self._downloader,
            folder=path,
            output=log,
            temporary=temporary,
            task_filters=chains(app.task_data_filters),
            result_filters=chains(app.task_result_filters),
            states_folder=states_folder,
            endpoint=self._hub.endpoint(name),
            fail=lambda message, details: self._report(self._sites[name], message, details),
        )

    def _serve(self, part: _Part) -> None:
        queue, site = part.queue, part.queue.context
        shared = queue.turns is self._turns
        if shared:
            queue.turns.begin(queue.seat)
        outcome, problem = RunStatus.FAILED, ""
        try:
            _execute(part)
            outcome = RunStatus.FINISHED
        except (PeerLostError, UnreachableError) as error:
            logger.exception("server lost site=%s", site.name)
            self._is_cut_off = True
            outcome, problem = RunStatus.ABORTED, str(error)
        except ScriptKilledError as error:
            problem = str(error)
            if self._plan.connect is None:  # a simulation does not restart it
                self._report(site, str(error.args[0]), error.details)
            elif not self._is_lost:
                self._leave(site, str(error.args[0]))
        except SiteError as error:
            problem = str(error)
            if isinstance(error.__cause__, PeerLostError | UnreachableError):  # raised by a call in the script
                outcome = RunStatus.ABORTED
            self._report(site, str(error.args[0]), error.details)
        except BaseException as error:
            problem = str(error)
            self._report(site, f"{site.name}: {type(error).__name__}: {error}", traceback.format_exc().rstrip())
        finally:
            if outcome is not RunStatus.FINISHED:
                site.end(outcome, problem)
            if shared:
                queue.turns.leave(queue.seat)
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self._finished.set()

    def _leave(self, site: Site, reason: str) -> None:
        """End this process as if it had been killed itself, so that the site's daemon asks for the job again."""
        logger.error("%s", reason)
        site.note(reason)
        ScriptHost.end_all()
        os._exit(KILLED_SCRIPT)

    def _report(self, site: Site, message: str, details: str) -> None:
        if self._is_lost:  # the script failed because this process is ending it
            return
        site.note(details or message)
        self._cell.send(self._plan.server, "failed", [site.name, message, details])

    def _announce(self, seat: Seat) -> None:
        self._turn[:4] = self._index[seat.name].to_bytes(4, "little")  # survives any death of the process

    def _from_server(self, handler: Callable[[Message], None]) -> Callable[[Message], None]:
        def checked(message: Message) -> None:
            if message.sender != self._plan.server:  # other sites of the job can reach this cell as well
                raise SiteError(f"{message.sender} may not send {message.topic!r}", site=message.sender)
            handler(message)

        return checked

    def _on_task(self, message: Message) -> None:
        number, names, task, *_ = message.payload
        for name in names or self._plan.sites:
            part = next((each for each in self._parts[name] if each.queue.takes(task)), None)
            if part is not None:
                part.queue.deliver(number, partial(_task_of, message))
            else:
                self._refuse(name, task)

    def _refuse(self, name: str, task: str) -> None:
        known = ", ".join(f"'{each}'" for part in self._parts[name] for each in part.queue.tasks)
        text = f"{name}: no executor of the job does the task '{task}'; it has executors for {known}"
        # On another thread: this one reads the link, and must not wait until it can send.
        threading.Thread(target=self._report, args=(self._sites[name], text, ""), daemon=True).start()

    def _on_withdraw(self, message: Message) -> None:
        number, names = message.payload
        for name in names:
            for part in self._parts.get(name, ()):
                part.queue.withdraw(number)

    def _on_end(self, message: Message) -> None:
        for part in self._all_parts():
            part.queue.end()

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        """End the process if its server is lost, since its results could not be used."""
        # Other peers are scripts, whose end their hosts notice.
        if speaks_for(peer, self._plan.server) or peer == self._plan.link_to:
            self._is_lost = True  # first, so that the end of the scripts does not look like a failure
            for site in self._sites.values():
                site.end(RunStatus.ABORTED, f"{peer} is gone")
            self._stop_services("the server is gone")
            ScriptHost.end_all()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                if os.getpgrp() == os.getpid():  # kills the scripts' children; the parent, which would, may be gone
                    os.killpg(0, signal.SIGKILL)
            os._exit(LOST_SERVER)


def _task_of(message: Message) -> Task:
    """Decode a task message, which may be for several sites, from a copy: each site gets arrays of its own."""
    header = [message.kind, message.to, message.sender, message.topic, message.id, message.lengths, message.extra]
    number, _, name, round_, data, stays = Message(header, bytearray(message.body)).payload
    return Task(name, data, number, round=round_, result_stays=stays)


def _execute(part: _Part) -> None:
    """Let an executor do its tasks until the run is over."""
    executor, queue = part.executor, part.queue
    if isinstance(executor, ScriptExecutor):
        executor.run(queue)
        return
    while not queue.ended:
        task = queue.next_task()
        if task is not None:
            queue.send_reply(executor.execute(task, queue.context))
    if isinstance(executor, SiteExecutor):
        executor.finish(queue.context)


def _built(entry: ExecutorEntry) -> Executor | SiteExecutor | ScriptExecutor:
    executor = entry.executor.build()
    if not isinstance(executor, Executor | SiteExecutor | ScriptExecutor):
        raise JobError(f"{type(executor).__name__} is not an Executor; derive it from flare_core.Executor")
    return executor
