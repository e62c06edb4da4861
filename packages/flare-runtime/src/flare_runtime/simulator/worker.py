"""A worker: the process in which a part of the sites lives."""

from __future__ import annotations

import faulthandler
import gc
import logging
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from flare_core import Executor, JobError, RunStatus, SiteError, Task
from flare_core.filters import chains
from flare_core.observer import observers_of
from flare_runtime.job_code import decomposers_of, register_types
from flare_runtime.logs import log_to
from flare_runtime.processes import LOST_SERVER
from flare_runtime.run_folder import RunFolder
from flare_runtime.scripts.external import end_external_processes
from flare_runtime.scripts.journal import Journal
from flare_runtime.scripts.process_state import ProcessState
from flare_runtime.scripts.turns import Seat, Turns
from flare_runtime.simulator.cores import keep_to_core
from flare_runtime.simulator.plan import WorkerPlan, site_seed
from flare_runtime.site import Site, SiteFolder
from flare_runtime.site_log import SiteLog
from flare_tensor_downloader import Downloader
from flare_transport import Cell, Message, PeerLostError, SocketLink, UnreachableError
from flare_transport.address import speaks_for

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)


def run_worker(plan: WorkerPlan, connection: socket.socket, loaded: Sequence[str] = ()) -> NoReturn:
    """Serve the plan's sites until their scripts end, then end the process.

    Args:
        plan: the sites, and what they run.
        connection: to the server.
        loaded: modules of the job's code that the parent had loaded.
    """
    code = 1
    try:
        _prepare_process(plan, loaded)
        with log_to(RunFolder(plan.run_folder).log, plan.log_config):
            _Worker(plan, connection).run()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        logger.exception("worker failed index=%s", plan.index)
    finally:
        for stream in (sys.__stdout__, sys.__stderr__):
            if stream is not None:
                stream.flush()
        os._exit(code)  # neither the parent's exit handlers nor threads of the scripts may hold the process up


def _prepare_process(plan: WorkerPlan, loaded: Sequence[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    keep_to_core(plan.core)
    gc.freeze()  # what was forked is not looked at again, so its pages stay shared
    os.environ.update(plan.environment)
    _redirect_output(RunFolder(plan.run_folder).log)
    faulthandler.enable(plan.crash_file.open("w"), all_threads=False)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)  # workers share the cores among themselves; and the sums do not depend on how many
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the same for TensorFlow, which no worker has loaded yet
    ProcessState.prepare(plan.code_roots, loaded)


def _redirect_output(log: Path) -> None:
    """Send what C code prints to the run's log; the scripts' own output goes to their sites' logs."""
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.close(null)


class _Worker:
    def __init__(self, plan: WorkerPlan, connection: socket.socket) -> None:
        self._plan = plan
        self._cell = Cell(plan.name)
        self._downloader = Downloader(self._cell)
        self._left = len(plan.sites)
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._note = mmap.mmap(os.open(plan.turn_file, os.O_RDWR), 0)
        self._index = {name: index for index, name in enumerate(plan.sites)}
        self._turns = Turns(self._announce)
        self._sites: dict[str, Site] = {}
        self._logs: list[SiteLog] = []
        self._executors: dict[str, Executor] = {}
        self._link = SocketLink(plan.link_to, connection)

    def run(self) -> None:
        self._cell.handle("task", self._on_task, inline=True)
        self._cell.handle("withdraw", self._on_withdraw, inline=True)
        self._cell.handle("end", self._on_end, inline=True)
        self._cell.on_peer_lost(self._peer_lost)
        self._cell.attach(self._link)
        if self._plan.connect is not None:
            self._plan.connect(self._cell)
        for name in self._plan.sites:
            try:
                self._prepare_site(name)
            except JobError as error:
                self._cell.send(self._plan.server, "failed", [name, f"{name}: {error}", ""])
                raise
        threads = [
            threading.Thread(target=self._serve, args=(site,), name=f"flare-site-{name}", daemon=True)
            for name, site in self._sites.items()
        ]
        for site in self._sites.values():
            if site.turns is self._turns:
                site.turns.join(site.seat)
        for thread in threads:
            thread.start()
        self._cell.send(self._plan.server, "ready", list(self._plan.sites))
        self._finished.wait()
        end_external_processes()
        for log in self._logs:
            log.close()
        self._cell.close()

    def _prepare_site(self, name: str) -> None:
        job, run_folder = self._plan.job, RunFolder(self._plan.run_folder)
        app = job.client_app(name)
        path = run_folder.site(name)
        register_types(job)
        journal = None
        log: TextIO
        if self._plan.connect is None:
            log = (path / "log.txt").open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        else:  # the server cannot read the file
            log = SiteLog(path / "log.txt", partial(self._cell.send, self._plan.server, "site.log"), name)
            self._logs.append(log)
            journal = Journal(run_folder.path / ".workers" / f"{name}.journal")
        executor = _executor_of(app.executors)
        filters = [chains(entries) for entries in (app.task_data_filters, app.task_result_filters)]
        external = getattr(executor, "launch_external_process", False)
        self._executors[name] = executor
        self._sites[name] = Site(
            name,
            job_id=self._plan.job_id,
            server=self._plan.server,
            cell=self._cell,
            downloader=self._downloader,
            turns=Turns() if external else self._turns,
            shares_process=not external,
            code=job.client_code(name),
            folder=SiteFolder(path, log),
            config=dict(app.config),
            seed=site_seed(job.seed, name),
            task_filters=filters[0],
            result_filters=filters[1],
            journal=journal,
            decomposers=decomposers_of(job),
        )
        self._sites[name].observe(observers_of(app.components), job.name)

    def _serve(self, site: Site) -> None:
        shared = site.turns is self._turns
        if shared:
            site.turns.begin(site.seat)
        try:
            site.serve(self._executors[site.site])
        except (PeerLostError, UnreachableError):
            logger.exception("server lost site=%s", site.site)
        except SiteError as error:
            self._report(site, str(error.args[0]), error.details)
        except BaseException as error:
            self._report(site, f"{site.site}: {type(error).__name__}: {error}", traceback.format_exc().rstrip())
        finally:
            if shared:
                site.turns.leave(site.seat)
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self._finished.set()

    def _report(self, site: Site, message: str, details: str) -> None:
        site.folder.log.write(f"{details or message}\n")
        site.folder.log.flush()
        self._cell.send(self._plan.server, "failed", [site.site, message, details])

    def _announce(self, seat: Seat) -> None:
        struct.pack_into("<i", self._note, 0, self._index[seat.name])

    def _on_task(self, message: Message) -> None:
        task_id, names, task, model = message.payload
        names = names or self._plan.sites
        for number, name in enumerate(names):
            if number == 0:
                self._sites[name].deliver(lambda: Task(task, model, task_id))
            else:
                self._sites[name].deliver(_decoder(message))

    def _on_withdraw(self, message: Message) -> None:
        for name in message.payload:
            self._sites[name].withdraw()

    def _on_end(self, message: Message) -> None:
        for site in self._sites.values():
            site.end()

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        """End the process with its server: nobody is left to whom anything could be told."""
        # Others are scripts, whose end is noticed elsewhere.
        if speaks_for(peer, self._plan.server) or peer == self._plan.link_to:
            for site in list(self._sites.values()):  # before its script is ended, which would look like a failure
                site.close(RunStatus.ABORTED, f"{peer} is gone")
            end_external_processes()
            os._exit(LOST_SERVER)


def _decoder(message: Message) -> Callable[[], Task]:
    """Decode a message that several sites were sent: each gets arrays of its own."""

    def decode() -> Task:
        header = [message.kind, message.to, message.sender, message.topic, message.id, message.lengths, message.extra]
        task_id, _, task, model = Message(header, bytearray(message.body)).payload
        return Task(task, model, task_id)

    return decode


def _executor_of(entries: list[Any]) -> Executor:
    if len(entries) != 1:
        raise JobError(f"the simulator runs one executor a site, the job has {len(entries)}")
    executor = entries[0].executor.build()
    if not isinstance(executor, Executor):
        raise JobError(f"{type(executor).__name__} is no Executor; derive it from flare_core.Executor")
    return executor
