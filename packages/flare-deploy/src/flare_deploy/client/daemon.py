"""A site's daemon: start a process for each job that the server sends. Messages from the server:

job.start   {job_id, attempt, cell, server, archive, sha256, gpus}
job.stop    [job id, attempt]
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections import deque
from pathlib import Path
from typing import Any

import flare_core
from flare_core import FlareError, JobError, load_job
from flare_core.job import check_name
from flare_deploy.archive import sha256_of, unpack
from flare_deploy.processes.connected_daemon import ConnectedDaemon
from flare_deploy.processes.job_process import JobProcess, exit_reason, kill_orphans
from flare_runtime.run.folder import RunFolder
from flare_runtime.simulator.gpus import VARIABLE, visible_devices, visible_gpus
from flare_runtime.site.plan import WorkerPlan
from flare_tensor_downloader import download_file
from flare_transport import Cell, Message, TransportError, blocking

logger = logging.getLogger(__name__)

CRASH_BYTES = 20_000
MAX_OVER = 256  # stopped jobs to remember; no start is delayed by more than so many others


class ClientDaemon(ConnectedDaemon):
    """The client of a site.

    Args:
        folder: the site's kit.
    Raises:
        KitError: the kit cannot be used.
        InUseError: another process uses this kit.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "client")
        self._server = self.kit.info.server
        self._jobs_folder = self.kit.folder / "jobs"
        self._jobs_folder.mkdir(exist_ok=True)
        kill_orphans(self._jobs_folder)
        self._lock = threading.Lock()
        self._jobs: dict[str, JobProcess] = {}
        self._over: deque[tuple[str, int]] = deque(maxlen=MAX_OVER)  # a stop may overtake the start of its job
        self.cell = self._new_cell()

    def close(self) -> None:
        """Stop all jobs, close the connection and release the kit. Return when no process of a job is left."""
        self._stop_jobs()
        super().close()

    def _new_cell(self) -> Cell:
        cell = Cell(self.name, threads=16)
        cell.handle("job.start", self._on_start)
        cell.handle("job.stop", self._on_stop)
        cell.on_peer_lost(self._peer_lost)
        return cell

    def _greet(self) -> None:
        kept = self._kept_jobs()  # before the request, as the server may send new jobs right after its answer
        try:
            hello = [flare_core.__version__, self._resources()]
            answer = self.cell.request(self._server, "site.hello", hello).payload
        except TransportError:  # refused over a link that is still open
            self._replace_cell()
            raise
        for job in set(kept) - set(answer["running"]):  # ended while this site was disconnected
            self._delete_code(job)

    def _disconnected(self) -> None:
        self._stop_jobs()
        self._replace_cell()

    def _replace_cell(self) -> None:
        self.cell.close()
        self.cell = self._new_cell()

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
        plan = WorkerPlan(
            index=1,
            job=load_job(folder / "app"),
            job_id=job,
            sites=(self.name,),
            run_folder=folder / "run",
            log_config="INFO",
            local={self.name: self.kit.folder / "local"},
            environment={VARIABLE: visible_devices(task["gpus"])} if task["gpus"] else {},
            cell=cell,
            server=task["server"],
            link_to=self.name,
        )
        with self._lock:
            former = self._jobs.pop(job, None)
        if former is not None:  # the server has restarted the job
            former.stop()
        plan.crash_file.unlink(missing_ok=True)
        process = JobProcess(
            "flare_deploy.client.job_process",
            plan.to_json(folder / "app"),
            plan_file=folder / "plan.json",
            cell=self.cell,
            peer=cell,
            log=folder / "run" / "log.txt",
            ended=lambda code: self._ended(job, cell, code, plan.crash_file),
        )
        with self._lock:
            is_over = self._is_over(job, task["attempt"])
            if not is_over:
                self._jobs[job] = process
        if is_over:
            with blocking():
                process.stop()
            return False
        process.attach()
        logger.info("job started job=%s cell=%s pid=%s gpus=%s", job, cell, process.pid, task["gpus"])
        return True

    def _ended(self, job: str, cell: str, code: int, crash_file: Path) -> None:
        with self._lock:
            process = self._jobs.get(job)
            if process is not None and process.peer == cell:
                del self._jobs[job]
        logger.info("job process ended job=%s cell=%s %s", job, cell, exit_reason(code))
        details = crash_file.read_text(errors="replace")[-CRASH_BYTES:].strip() if crash_file.is_file() else ""
        self._send("site.exited", [job, cell, code, details])

    def _on_stop(self, message: Message) -> None:
        self._check_from_server(message)
        job, attempt = message.payload
        with self._lock:
            self._over.append((job, attempt))
            process = self._jobs.pop(job, None)
        if process is not None:
            with blocking():
                process.stop()
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
        for process in jobs.values():
            process.stop()

    def _send(self, topic: str, payload: Any) -> None:
        try:
            self.cell.send(self._server, topic, payload)
        except TransportError as error:
            logger.debug("the server cannot be reached topic=%s reason=%s", topic, error)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        super()._peer_lost(self.kit.info.listener if peer == self._server else peer, error)
