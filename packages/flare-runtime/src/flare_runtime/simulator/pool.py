"""WorkerPool: starts the workers of a simulation, notices their end, and leaves none behind."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flare_core import JobError
from flare_core.job_folder import export_job
from flare_core.local_copies import local_copies
from flare_runtime.processes.scratch import make_scratch, remove_scratch
from flare_runtime.scripts.process_state import modules_below
from flare_runtime.site.plan import WorkerPlan
from flare_runtime.system import peak_bytes
from flare_runtime.worker import run_worker
from flare_transport import Cell, SocketLink

TOO_MANY = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)  # errors for too many processes or files
GRACE_S = 1.0


@dataclass(slots=True)
class _Worker:
    plan: WorkerPlan
    pid: int
    connection: socket.socket
    link: SocketLink | None = None
    waiter: threading.Thread = field(default_factory=threading.Thread)
    status: int | None = None
    usage: dict[str, float] = field(default_factory=dict)


class WorkerPool:
    """The worker processes of one simulation.

    Workers are forked from this process, whose loaded modules they share, if that is safe: it must have one thread
    only. Otherwise they are started as new processes, and read the job from a folder.

    Args:
        plans: the plans of the workers.
        cell: the server's cell.
        ended: called with the plan and the exit code of each worker that ends, on a thread of the pool.
    """

    def __init__(self, plans: Sequence[WorkerPlan], cell: Cell, ended: Callable[[WorkerPlan, int], None]) -> None:
        self._cell = cell
        self._ended = ended
        self._workers: list[_Worker] = []
        self._copies: Path | None = None
        self._start(plans)

    def connect(self) -> None:
        """Connect to the workers. Afterwards this process has threads, so it must not be forked any more."""
        for worker in self._workers:
            self._watch(worker)
            worker.link = SocketLink(worker.plan.name, worker.connection)
            self._cell.attach(worker.link)

    def usage(self) -> dict[str, dict[str, float]]:
        """Return the peak memory (resident bytes) and CPU seconds of each worker that has ended."""
        return {worker.plan.name: worker.usage for worker in self._workers if worker.usage}

    def stop(self) -> None:
        """End all workers and their children, by force if necessary; return when they are gone."""
        self._cell.close()  # a worker ends with its link, unless it is stuck
        for worker in self._workers:
            if worker.waiter.ident is None:  # the start of the run failed before connect()
                worker.connection.close()
                self._watch(worker)
        until = time.monotonic() + GRACE_S
        for worker in self._workers:
            worker.waiter.join(max(0.0, until - time.monotonic()))
            if worker.status is None:
                os.kill(worker.pid, signal.SIGKILL)
        for worker in self._workers:  # a thread that is still ending would prevent the next run from forking
            worker.waiter.join()
            if worker.link is not None:
                worker.link.join()
        self._remove_copies()

    def _watch(self, worker: _Worker) -> None:
        """Wait for the end of a worker on a thread."""
        worker.waiter = threading.Thread(target=self._await_end, args=(worker,), name="flare-waiter", daemon=True)
        worker.waiter.start()

    def _start(self, plans: Sequence[WorkerPlan]) -> None:
        start = self._fork if can_fork() else self._spawn
        self._loaded = modules_below(plans[0].code_roots)
        try:
            with tempfile.TemporaryFile() as lanes:
                for plan in plans:
                    plan.turn_file.parent.mkdir(exist_ok=True)
                    plan.turn_file.write_bytes(bytes(4))
                    self._workers.append(self._started(start, plan, lanes.fileno()))
        except BaseException as error:
            self._kill_all()
            if isinstance(error, OSError) and error.errno in TOO_MANY:
                raise JobError(
                    f"only {len(self._workers)} of {len(plans)} processes could be started ({error});"
                    " SimEnv(share_processes=True) needs fewer"
                ) from error
            raise

    def _started(self, start: Callable[..., int], plan: WorkerPlan, lanes: int) -> _Worker:
        ours, theirs = socket.socketpair()
        try:
            return _Worker(plan, start(plan, theirs, [*(each.connection for each in self._workers), ours], lanes), ours)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def _kill_all(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            _end_group(worker.pid)
        self._remove_copies()

    def _remove_copies(self) -> None:
        if self._copies is not None:
            shutil.rmtree(self._copies, ignore_errors=True)

    def _fork(self, plan: WorkerPlan, theirs: socket.socket, ours: Sequence[socket.socket], lanes: int) -> int:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        pid = os.fork()
        if pid == 0:
            for connection in ours:  # otherwise this worker would keep its siblings' links open
                connection.close()
            run_worker(plan, theirs, self._loaded, lanes)
        return pid

    def _spawn(self, plan: WorkerPlan, theirs: socket.socket, ours: Sequence[socket.socket], lanes: int) -> int:
        folder = plan.run_folder / ".workers" / "job"
        if not folder.exists():
            self._copies = make_scratch()
            with local_copies(self._copies):
                export_job(plan.job, folder)
        command = [
            sys.executable,
            "-m",
            "flare_runtime.simulator.spawned",
            str(theirs.fileno()),
            plan.to_json(folder / plan.job.name),
            str(lanes),
        ]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno(), lanes], stdin=subprocess.DEVNULL)
        process.returncode = 0  # keeps Popen from waiting for the process, which the pool does by its pid
        return process.pid

    def _await_end(self, worker: _Worker) -> None:
        _, status, usage = os.wait4(worker.pid, 0)
        worker.status = os.waitstatus_to_exitcode(status)
        _end_group(worker.pid)
        remove_scratch(worker.pid)
        cpu_s = usage.ru_utime + usage.ru_stime
        worker.usage = {"peak_rss_bytes": peak_bytes(usage), "cpu_s": round(cpu_s, 3)}
        self._ended(worker.plan, worker.status)


def can_fork() -> bool:
    """Return True if this process can be forked: it has one thread, and no library that does not survive a fork."""
    if not hasattr(os, "fork") or sys.platform == "darwin" or threading.active_count() > 1:
        return False
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return False
    # They have threads of their own, and a forked process would wait for locks that these held.
    return not {"grpc", "tensorflow"} & sys.modules.keys() and not _polars_has_threads()


def _polars_has_threads() -> bool:
    """Report if Polars has been used; MLflow and others import it, which starts no threads that matter."""
    if "polars" not in sys.modules:
        return False
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return True
    names = []
    for task in tasks.iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            names.append((task / "comm").read_text())
    return any(re.match(r"polars-\d|tokio-rt", name) for name in names)


def _end_group(worker: int) -> None:
    """Kill the processes that a worker's scripts have left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # none is left, or it runs as another user
        os.killpg(worker, signal.SIGKILL)
