"""RunningJob: the processes of one running job, here and at its sites.

Processes may be killed at any time, so each has a cell name of its own that counts its starts: a late message about an
earlier process is told apart by that name and ignored.

    server.<job>-<attempt>                the job's process at the server
    <site>.<job>-<attempt>-<number>       its process at a site; a new number whenever the job is sent there again

When the process at the server is killed, the next attempt restarts the sites' processes as well, since they hold
connections to the old one. A process is restarted up to MAX_CRASHES times in a row without a completed round between.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core import RunStatus
from flare_deploy.processes.job_process import JobProcess, exit_reason
from flare_deploy.server.site_archives import ARCHIVES, site_archive
from flare_deploy.server.store import JobRow
from flare_runtime.processes.exit_codes import COMPLETED, KILLED_SCRIPT, LOST_SERVER, NO_SERVER
from flare_tensor_downloader import add_file
from flare_transport import TransportError

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

logger = logging.getLogger(__name__)

MAX_CRASHES = 3
ABORT_S = 10.0  # within which an aborted job's process ends, before it is killed
REMOVED = "it was removed from the project"


class RunningJob:
    """A job's process at the server, and the job's distribution to its sites; both are restarted when they are killed.

    The caller of a method holds the daemon's lock, except for :meth:`serves` and :meth:`close`.

    Args:
        daemon: the server's; notified of each start of the job's process, and of the job's end.
        row: the job.
        folder: the job's folder at the server, with the sites' archives and the run's folder.
        sites: the sites of the job, in order.
        gpus: the GPUs that the job may use, by site; only of connected sites at first.
    Attributes:
        is_up: the job's process can receive messages.
    """

    def __init__(
        self,
        daemon: ServerDaemon,
        row: JobRow,
        folder: Path,
        *,
        sites: tuple[str, ...],
        gpus: Mapping[str, Sequence[int]],
    ) -> None:
        self._daemon = daemon
        self._cell = daemon.cell
        self.row = row
        self.sites = sites
        self.gpus = dict(gpus)
        self._folder = folder
        self._attempt = row.attempts
        self._rounds = 0
        self._crashes = 0
        self._starts: dict[str, int] = {}  # by site
        self._kills: dict[str, int] = {}  # by site, in a row
        self._hosts: dict[str, str] = {}  # the cell of the current process at each site
        self._outcome: tuple[RunStatus, str] | None = None
        self._aborting = ""
        self._is_closing = False
        self.is_up = False
        self._starting: list[str] = []
        self._removed: list[str] = []  # since the job's process was started
        self.process: JobProcess | None = None

    @property
    def cell_name(self) -> str:
        """The cell name of the job's current process at the server."""
        return f"{self._cell.name}.{self.row.id}-{self._attempt}"

    def serves(self, cell: str) -> bool:
        """Return True if a cell is the job's process at a site; may be called on any thread."""
        return cell in self._hosts.copy().values()

    def start(self, connected: list[str]) -> None:
        """Start or restart the job's process, which then waits for the connected sites."""
        self._attempt += 1
        self._starting = [site for site in self.sites if site in connected]
        self.is_up = False
        self._removed.clear()
        self._hosts.clear()
        self._daemon.job_started(self.row.id, self._attempt)
        plan = {
            "job_id": self.row.id,
            "app": str(self._folder / "app"),
            "run_folder": str(self._folder / "run"),
            "local": str(self._daemon.kit.folder / "local"),
            "cell": self.cell_name,
            "daemon": self._cell.name,
            "sites": list(self.sites),
            "starting": self._starting,
        }
        attempt = self._attempt
        self.process = JobProcess(
            "flare_deploy.server.job_process",
            json.dumps(plan),
            plan_file=self._folder / "plan.json",
            cell=self._cell,
            peer=self.cell_name,
            log=self._folder / "run" / "log.txt",
            ended=lambda code: self._process_ended(attempt, code),
        )
        self.process.attach()

    def process_is_up(self, connected: list[str]) -> None:
        """Send the job to the connected sites, as its process can receive messages now."""
        self.is_up = True
        for site in self._removed:
            self._tell("site.removed", [site, REMOVED])
        for site in connected:
            self.deploy(site)
        for site in set(self._starting) - set(connected):
            self._tell("site.left", [site, "its connection ended"])

    def deploy(self, site: str) -> None:
        """Send the job to a site, unless its process runs there already."""
        if site not in self.sites or not self.is_up or site in self._hosts:
            return
        number = self._starts[site] = self._starts.get(site, 0) + 1
        host = self._hosts[site] = f"{site}.{self.row.id}-{self._attempt}-{number}"
        archive, digest = site_archive(self._folder / ARCHIVES, site)
        reference = add_file(self._daemon.downloader, archive, [site])
        task = {
            "job_id": self.row.id,
            "attempt": self._attempt,
            "cell": host,
            "server": self.cell_name,
            "archive": reference,
            "sha256": digest,
            "gpus": list(self.gpus.get(site, ())),
        }
        logger.info("job sent job=%s site=%s number=%s", self.row.id, site, number)
        try:
            self._cell.send(site, "job.start", task)
        except TransportError as error:
            self.site_left(site, f"it cannot be reached ({error})")

    def site_left(self, site: str, reason: str) -> None:
        """Note that a site has disconnected; it is waited for as the job's settings say."""
        host = self._hosts.pop(site, None)
        if host is not None:
            self._tell("site.left", [host, reason])

    def site_removed(self, site: str) -> None:
        """Continue without a site that was removed from the project or the job's study."""
        self.sites = tuple(each for each in self.sites if each != site)
        self._hosts.pop(site, None)
        self._removed.append(site)
        self._tell("site.removed", [site, REMOVED])

    def site_exited(self, site: str, host: str, code: int, details: str) -> bool:
        """Handle the end of a process at a site; return True if the job should be sent there again."""
        if self._hosts.get(site) != host:
            return False  # an earlier process
        if code in (0, COMPLETED):
            self._tell("site.ended", [host, site if code == 0 else None])
            return False
        del self._hosts[site]
        if self._outcome is not None:
            return False  # the run is over, and the job's process is about to exit
        if code in (-signal.SIGKILL, LOST_SERVER, KILLED_SCRIPT, NO_SERVER):
            self._tell("site.left", [host, f"its process {exit_reason(code)}"])
            if code == LOST_SERVER:  # the process was healthy, and a network may fail any number of times
                return True
            self._kills[site] = self._kills.get(site, 0) + 1
            if self._kills[site] <= MAX_CRASHES:
                return True
            details = f"{details}\nIt was started {self._kills[site]} times; does it need more memory than there is?"
        self._tell("site.failed", [site, f"{site}: its script's process {exit_reason(code)}", details.strip()])
        return False

    def site_refused(self, site: str, host: str, reason: str) -> None:
        """Fail the job because a site cannot run it."""
        if self._hosts.get(site) == host:
            self._tell("site.failed", [site, f"{site} cannot run the job: {reason}", ""])

    def rounds_completed(self, count: int) -> None:
        """Note how many rounds the run has completed; another one resets the counts of crashes."""
        if count > self._rounds:
            self._rounds, self._crashes = count, 0
            self._kills.clear()

    def done(self, status: RunStatus, error: str) -> None:
        """Note the outcome that the process reports; kill the process if a component's thread keeps it alive."""
        self._outcome = (status, error)
        self._end_soon()

    def abort(self, reason: str) -> None:
        """Ask the job's process to end the run; kill it if it does not."""
        self._aborting = reason
        self._tell("job.abort", [reason])
        self._end_soon()

    def _end_soon(self) -> None:  # on a thread, since the daemon's lock is held here
        process = self.process
        if process is not None:
            threading.Thread(target=process.stop_within, args=(ABORT_S,), name="flare-stop", daemon=True).start()

    def close(self) -> None:
        """Stop the job's process because the server is being stopped; a restarted server continues the job."""
        self._is_closing = True
        if self.process is not None:
            self.process.stop()

    def stop_sites(self) -> None:
        """Tell the sites to stop the job's processes and delete its code."""
        for site in self._starts:
            try:
                self._cell.send(site, "job.stop", [self.row.id, self._attempt])
            except TransportError:
                logger.debug("site cannot be reached site=%s", site)

    def _tell(self, topic: str, payload: Any) -> None:
        try:
            self._cell.send(self.cell_name, topic, payload)
        except TransportError:
            logger.debug("the job's process is gone job=%s topic=%s", self.row.id, topic)

    def _process_ended(self, attempt: int, code: int) -> None:
        with self._daemon.lock:
            if attempt != self._attempt or self._is_closing:
                return
            self.is_up = False
            logger.info("job process ended job=%s attempt=%s code=%s", self.row.id, attempt, code)
            if self._outcome is not None:  # the run had ended, whatever happened to the process after that
                return self._daemon.job_ended(self.row.id, *self._outcome)
            if self._aborting:
                return self._daemon.job_ended(self.row.id, RunStatus.ABORTED, self._aborting)
            self._crashes += 1
            reason = f"the job's process at the server {exit_reason(code)}"
            if self._crashes > MAX_CRASHES:
                reason = f"{reason}, {self._crashes} times without a round"
                return self._daemon.job_ended(self.row.id, RunStatus.FAILED, reason)
            logger.warning("%s; restarting it job=%s", reason, self.row.id)
            try:
                self.start(list(self._daemon.connected))
            except (OSError, RuntimeError) as error:  # no disk space, descriptors or threads left
                self._daemon.job_ended(self.row.id, RunStatus.FAILED, f"{reason} and cannot be restarted ({error})")
