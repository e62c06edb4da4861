"""RunningJob: one job while it runs; its process here, and what serves it at the sites."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flare_core import RunStatus
from flare_deploy.processes.job_process import JobProcess, exit_reason
from flare_deploy.server.site_archives import ARCHIVES, site_archive
from flare_deploy.server.store import JobRow
from flare_runtime.processes.exit_codes import IN_ORDER, KILLED_SCRIPT, LOST_SERVER, NO_SERVER
from flare_tensor_downloader import Downloader, add_file
from flare_transport import Cell, TransportError

__all__ = ["RunningJob"]

logger = logging.getLogger(__name__)

MOST_CRASHES = 3  # in a row, without a round completed in between
ABORT_S = 10.0
REMOVED = "it was removed from the project"


class RunningJob:
    """Starts a job's process, sends the job to its sites, and starts both again when they are killed.

    Its methods are called with the daemon's lock held, or on threads of its own, which take it.

    Args:
        row: the job.
        folder: the job's folder at the server, with the sites' archives and the run's folder.
        sites: who takes part, in order.
        cards: by site that is there, the GPUs it may use.
        ended: told how the job ended, and why.
        started: told each time the job's process is started, and for which time.
        connected: says which sites are there.
    Attributes:
        is_up: whether the job's process can be talked to.
    """

    def __init__(
        self,
        row: JobRow,
        folder: Path,
        *,
        cell: Cell,
        downloader: Downloader,
        sites: tuple[str, ...],
        cards: Mapping[str, tuple[int, ...]],
        lock: threading.RLock,
        ended: Callable[[str, RunStatus, str], None],
        started: Callable[[str, int], None],
        connected: Callable[[], list[str]],
    ) -> None:
        self.row = row
        self.sites = sites
        self.cards = dict(cards)
        self._folder = folder
        self._cell = cell
        self._downloader = downloader
        self._lock = lock
        self._ended = ended
        self._started = started
        self._connected = connected
        self._attempt = row.attempts
        self._crashes = 0
        self._starts: dict[str, int] = {}  # by site, how often the job was started there
        self._kills: dict[str, int] = {}  # by site, how often in a row what served it was killed
        self._hosts: dict[str, str] = {}
        self._outcome: tuple[RunStatus, str] | None = None
        self._aborting = ""
        self._is_closing = False
        self.is_up = False
        self._starting: list[str] = []
        self._removed: list[str] = []  # since the job's process was started
        self.process: JobProcess | None = None

    @property
    def cell_name(self) -> str:
        """The cell of the job's process here; a new one each time."""
        return f"{self._cell.name}.{self.row.id}-{self._attempt}"

    def serves(self, cell: str) -> bool:
        """Whether a cell serves a site of this job; callable from any thread."""
        return cell in self._hosts.copy().values()

    def start(self, connected: list[str]) -> None:
        """Start the job's process, for the first time or once more; it waits for the sites that are there."""
        self._attempt += 1
        self._starting = [site for site in self.sites if site in connected]
        self.is_up = False
        self._removed.clear()
        self._hosts.clear()
        self._started(self.row.id, self._attempt)
        plan = {
            "job_id": self.row.id,
            "app": str(self._folder / "app"),
            "run_folder": str(self._folder / "run"),
            "cell": self.cell_name,
            "daemon": self._cell.name,
            "sites": list(self.sites),
            "starting": self._starting,
        }
        attempt = self._attempt
        self.process = JobProcess(
            "flare_deploy.server.job_process",
            plan,
            plan_file=self._folder / "plan.json",
            cell=self._cell,
            peer=self.cell_name,
            environment={},
            log=self._folder / "run" / "log.txt",
            ended=lambda code: self._process_ended(attempt, code),
        )
        self.process.attach()

    def process_is_up(self, connected: list[str]) -> None:
        """The job's process can be talked to: send the job to the sites that are there."""
        self.is_up = True
        for site in self._removed:
            self._tell("site.removed", [site, REMOVED])
        for site in connected:
            self.deploy(site)
        for site in set(self._starting) - set(connected):
            self._tell("site.left", [site, "its connection ended"])

    def deploy(self, site: str) -> None:
        """Send the job to a site, for the first time or once more."""
        if site not in self.sites or not self.is_up or site in self._hosts:
            return
        number = self._starts[site] = self._starts.get(site, 0) + 1
        host = self._hosts[site] = f"{site}.{self.row.id}-{self._attempt}-{number}"
        archive, digest = site_archive(self._folder / ARCHIVES, site)
        reference = add_file(self._downloader, archive, [site])
        task = {
            "job_id": self.row.id,
            "name": self.row.name,
            "study": self.row.study,
            "submitter": self.row.submitter,
            "cell": host,
            "server": self.cell_name,
            "archive": reference,
            "sha256": digest,
            "gpus": list(self.cards.get(site, ())),
        }
        logger.info("job sent job=%s site=%s number=%s", self.row.id, site, number)
        try:
            self._cell.send(site, "job.start", task)
        except TransportError as error:
            self.site_left(site, f"it cannot be reached ({error})")

    def site_left(self, site: str, reason: str) -> None:
        """A site is not connected any more."""
        host = self._hosts.pop(site, None)
        if host is not None:
            self._tell("site.left", [host, reason])

    def site_removed(self, site: str) -> None:
        """A site does not belong to the project, or to the job's study, any more."""
        self.sites = tuple(each for each in self.sites if each != site)
        self._hosts.pop(site, None)
        self._removed.append(site)
        self._tell("site.removed", [site, REMOVED])

    def site_exited(self, site: str, host: str, code: int, details: str) -> bool:
        """What served a site has ended; true if the job should be sent there again."""
        if self._hosts.get(site) != host:
            return False  # of an earlier start
        if code in (0, IN_ORDER):
            self._tell("site.ended", [host, site if code == 0 else None])
            return False
        del self._hosts[site]
        if self._outcome is not None:
            return False  # the run is over, and the process of the job is about to exit
        if code in (-signal.SIGKILL, LOST_SERVER, KILLED_SCRIPT, NO_SERVER):
            self._tell("site.left", [host, f"its process {exit_reason(code)}"])
            if code == LOST_SERVER:  # it was well, and a network may fail as often as it likes
                return True
            self._kills[site] = self._kills.get(site, 0) + 1
            if self._kills[site] <= MOST_CRASHES:
                return True
            details = f"{details}\nIt was started {self._kills[site]} times; does it need more memory than there is?"
        self._tell("site.failed", [site, f"{site}: its script's process {exit_reason(code)}", details.strip()])
        return False

    def site_refused(self, site: str, host: str, reason: str) -> None:
        """A site will not, or cannot, run the job."""
        if self._hosts.get(site) == host:
            self._tell("site.failed", [site, f"{site} cannot run the job: {reason}", ""])

    def progressed(self) -> None:
        """A round was completed."""
        self._crashes = 0
        self._kills.clear()

    def done(self, status: RunStatus, error: str) -> None:
        """The job's process says how it ended; it is about to exit, and made to if a component's thread hinders it."""
        self._outcome = (status, error)
        self._end_soon()

    def abort(self, reason: str) -> None:
        """End the job."""
        self._aborting = reason
        self._tell("job.abort", [reason])
        self._end_soon()

    def _end_soon(self) -> None:
        process = self.process
        if process is not None:
            threading.Thread(target=process.end_within, args=(ABORT_S,), name="flare-end", daemon=True).start()

    def close(self) -> None:
        """End the job's process for now: the server is being stopped, and goes on with the job when it is started."""
        self._is_closing = True
        if self.process is not None:
            self.process.stop()

    def stop_sites(self) -> None:
        """Have the sites end what is left of the job."""
        for site in self._starts:
            try:
                self._cell.send(site, "job.stop", [self.row.id])
            except TransportError:
                logger.debug("site not told that the job is over site=%s", site)

    def _tell(self, topic: str, payload: Any) -> None:
        try:
            self._cell.send(self.cell_name, topic, payload)
        except TransportError:
            logger.debug("the job's process is gone job=%s topic=%s", self.row.id, topic)

    def _process_ended(self, attempt: int, code: int) -> None:
        with self._lock:
            if attempt != self._attempt or self._is_closing:
                return
            self.is_up = False
            logger.info("job process ended job=%s attempt=%s code=%s", self.row.id, attempt, code)
            if self._outcome is not None:  # it may have ended before it was aborted; how it then exits changes nothing
                return self._ended(self.row.id, *self._outcome)
            if self._aborting:
                return self._ended(self.row.id, RunStatus.ABORTED, self._aborting)
            self._crashes += 1
            reason = f"the job's process at the server {exit_reason(code)}"
            if self._crashes > MOST_CRASHES:
                return self._ended(self.row.id, RunStatus.FAILED, f"{reason}, {self._crashes} times without a round")
            logger.warning("%s; it is started again job=%s", reason, self.row.id)
            try:
                self.start(self._connected())
            except (OSError, RuntimeError) as error:  # no room, no descriptors, no threads
                self._ended(self.row.id, RunStatus.FAILED, f"{reason}, and cannot be started again ({error})")
