"""A site's daemon: start a process for each job that the server sends. Messages from the server:

job.start   {job_id, attempt, name, study, submitter, cell, server, archive, sha256, gpus}
job.stop    [job id, attempt]
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flare_core
from flare_core import FlareError, JobError
from flare_core.job import check_name
from flare_deploy.archive import sha256_of, unpack
from flare_deploy.processes.attempts import Attempts
from flare_deploy.processes.job_process import JobProcess, exit_reason, kill_orphans
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.provision.kit import Kit
from flare_runtime.run.folder import RunFolder
from flare_runtime.simulator.gpus import VARIABLE, visible_devices, visible_gpus
from flare_tensor_downloader import download_file
from flare_transport import Cell, Message, TransportError, UnreachableError, blocking

__all__ = ["ClientDaemon"]

logger = logging.getLogger(__name__)

CRASH_BYTES = 20_000
MAX_OVER = 256  # stopped jobs to remember; no start is delayed by more than so many others


@dataclass(slots=True)
class _Started:
    cell: str
    process: JobProcess


class ClientDaemon:
    """The client of a site.

    Args:
        folder: the site's kit.
    Raises:
        KitError: the kit cannot be used.
        InUseError: another process uses this kit.
    """

    def __init__(self, folder: Path) -> None:
        self.kit = Kit.load(folder, kind="client")
        self._lock_file = LockFile(self.kit.folder / "lock", f"the client of {self.kit.folder}")
        self.name = self.kit.info.name
        self._server = self.kit.info.server
        self._jobs_folder = self.kit.folder / "jobs"
        self._jobs_folder.mkdir(exist_ok=True)
        kill_orphans(self._jobs_folder)
        self._lock = threading.Lock()
        self._jobs: dict[str, _Started] = {}
        self._over: deque[tuple[str, int]] = deque(maxlen=MAX_OVER)  # a stop may overtake the start of its job
        self._changed = threading.Condition()
        self._is_lost = False
        self._is_stopped = False
        self._was_connected = False
        self.cell: Cell
        self._new_cell()

    def run(self, connected: Any = None, waiting: Callable[[str], Any] = logger.debug) -> None:
        """Connect, and again whenever the connection is lost, until :meth:`stop` is called.

        Args:
            connected: called whenever a connection is made.
            waiting: called with the reason whenever an attempt fails.
        Raises:
            AuthenticationError: the server refuses this site; says why.
        """
        while not self._is_stopped:
            if not self._connect(waiting):
                return
            if connected is not None:
                connected()
            with self._changed:
                self._changed.wait_for(lambda: self._is_lost or self._is_stopped)
            self._stop_jobs()
            if not self._is_stopped:
                logger.warning("connection to the server lost; connecting again")
                self.cell.close()
                self._new_cell()

    def stop(self) -> None:
        """Make :meth:`run` return."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop all jobs, close the connection and release the kit. Return when no process of a job is left."""
        self._stop_jobs()
        self.cell.close()
        self._lock_file.release()

    def _new_cell(self) -> None:
        self._is_lost = False
        self.cell = Cell(self.name, threads=16)
        self.cell.handle("job.start", self._on_start)
        self.cell.handle("job.stop", self._on_stop)
        self.cell.on_peer_lost(self._peer_lost)

    def _connect(self, waiting: Callable[[str], Any]) -> bool:
        """Connect to the server, directly or through a relay; return False if stopped meanwhile."""
        attempts = Attempts(self.name, was_connected=self._was_connected)
        info = self.kit.info
        while True:
            try:
                self.cell.connect(info.address, credentials=self.kit.credentials, peer=info.listener, uplink=True)
                kept = self._kept_jobs()  # before the request, as the server may send new jobs right after its answer
                hello = [flare_core.__version__, self._resources()]
                answer = self.cell.request(self._server, "site.hello", hello).payload
                for job in set(kept) - set(answer.get("running", kept)):  # ended while this site was disconnected
                    self._delete_code(job)
                logger.info("connected address=%s", info.address)
                self._was_connected = True
                return True
            except TransportError as error:
                pause_s = attempts.failed(error)
                waiting(str(error))
                if not isinstance(error, UnreachableError):  # refused over a link that is still open
                    self.cell.close()
                    self._new_cell()
            with self._changed:
                if self._changed.wait_for(lambda: self._is_stopped, pause_s):
                    return False

    def _resources(self) -> dict[str, Any]:
        path = self.kit.folder / "local" / "resources.json"
        found: dict[str, Any] = {"num_of_cpus": os.cpu_count() or 1, "num_of_gpus": len(visible_gpus())}
        try:
            values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
            return {**found, **values}
        except (ValueError, TypeError) as error:
            raise FlareError(f"{path} cannot be read: {error}") from error

    def _on_start(self, message: Message) -> None:
        self._check_from_server(message)
        task = message.payload
        try:
            with blocking():
                self._prepare(task)
            if not self._start(task):
                self._delete_code(task["job_id"])
        except (FlareError, OSError) as error:
            logger.error("job refused job=%s reason=%s", task["job_id"], error)
            self._send("site.refused", [task["job_id"], task["cell"], str(error)])

    def _check_from_server(self, message: Message) -> None:
        """Refuse messages of other sites, which the server forwards while they work on the same job.

        Raises:
            JobError: the sender is not the server.
        """
        if message.sender != self._server:
            raise JobError(f"{message.sender} is not the server and may not send '{message.topic}'")

    def _prepare(self, task: dict[str, Any]) -> None:
        """Download the job's archive and unpack it, unless that is done already."""
        folder = self._folder(task["job_id"])
        RunFolder(folder / "run").path.mkdir(parents=True, exist_ok=True)
        (folder / "run" / "sites").mkdir(exist_ok=True)
        if (folder / "app").is_dir():
            self._send("tensor.release", [task["archive"]])
            return
        problem, path = download_file(self._server, task["archive"], None, self.cell, folder)
        if path is None or sha256_of(path) != task["sha256"]:
            raise JobError(f"the job's archive did not arrive as it was sent ({problem or 'its digest differs'})")
        shutil.rmtree(folder / "app.partial", ignore_errors=True)
        unpack(path, folder / "app.partial")
        (folder / "app.partial").rename(folder / "app")
        path.unlink()

    def _folder(self, job: str) -> Path:
        check_name(job, what="a job's id")
        folder = self._jobs_folder / job
        folder.mkdir(exist_ok=True)
        return folder

    def _start(self, task: dict[str, Any]) -> bool:
        """Start a job's process; return False if the job was stopped meanwhile."""
        job, cell = task["job_id"], task["cell"]
        with self._lock:
            if self._is_over(job, task["attempt"]):
                return False
        folder = self._folder(job)
        crash_file = folder / "run" / ".workers" / "1.crash"
        environment = {VARIABLE: visible_devices(task["gpus"])} if task["gpus"] else {}
        plan = {
            "app": str(folder / "app"),
            "job_id": job,
            "site": self.name,
            "run_folder": str(folder / "run"),
            "cell": cell,
            "server": task["server"],
            "daemon": self.name,
            "kit": str(self.kit.folder),
        }
        with self._lock:
            former = self._jobs.pop(job, None)
        if former is not None:  # the server has restarted the job
            former.process.stop()
        crash_file.unlink(missing_ok=True)
        process = JobProcess(
            "flare_deploy.client.job_process",
            plan,
            plan_file=folder / "plan.json",
            cell=self.cell,
            peer=cell,
            environment=environment,
            log=folder / "run" / "log.txt",
            ended=lambda code: self._ended(job, cell, code, crash_file),
        )
        with self._lock:
            is_over = self._is_over(job, task["attempt"])
            if not is_over:
                self._jobs[job] = _Started(cell, process)
        if is_over:
            with blocking():
                process.stop()
            return False
        process.attach()
        logger.info("job started job=%s cell=%s pid=%s gpus=%s", job, cell, process.pid, environment.get(VARIABLE))
        return True

    def _ended(self, job: str, cell: str, code: int, crash_file: Path) -> None:
        with self._lock:
            started = self._jobs.get(job)
            if started is not None and started.cell == cell:
                del self._jobs[job]
        logger.info("job process ended job=%s cell=%s %s", job, cell, exit_reason(code))
        details = crash_file.read_text(errors="replace")[-CRASH_BYTES:].strip() if crash_file.is_file() else ""
        self._send("site.exited", [job, cell, code, details])

    def _on_stop(self, message: Message) -> None:
        self._check_from_server(message)
        job, attempt = message.payload
        with self._lock:
            self._over.append((job, attempt))
            started = self._jobs.pop(job, None)
        if started is not None:
            with blocking():
                started.process.stop()
        self._delete_code(job)

    def _is_over(self, job: str, attempt: int) -> bool:
        """Return True if this attempt of a job was stopped; a server that has no record of that begins another one."""
        return any(stopped == job and attempt <= last for stopped, last in self._over)

    def _kept_jobs(self) -> list[str]:
        """Return the jobs whose code is here."""
        return [path.name for path in self._jobs_folder.iterdir() if any(path.glob("app*"))]

    def _delete_code(self, job: str) -> None:
        """Delete the code of a job that has ended; the files that its script has written stay."""
        for name in ("app", "app.partial"):
            shutil.rmtree(self._folder(job) / name, ignore_errors=True)

    def _stop_jobs(self) -> None:
        with self._lock:
            jobs, self._jobs = self._jobs, {}
        for started in jobs.values():
            started.process.stop()

    def _send(self, topic: str, payload: Any) -> None:
        try:
            self.cell.send(self._server, topic, payload)
        except TransportError as error:
            logger.debug("the server cannot be reached topic=%s reason=%s", topic, error)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        if peer in (self._server, self.kit.info.listener):
            with self._changed:
                self._is_lost = True
                self._changed.notify_all()
