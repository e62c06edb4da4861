"""The server's daemon: which sites are connected, which jobs run, and what starts next.

Requests are answered in :mod:`~flare_deploy.server.admin_handlers` and :mod:`~flare_deploy.server.site_handlers`.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from flare_core import FlareError, JobError, RunStatus
from flare_deploy.processes.job_process import kill_orphans
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.processes.settings import read_settings
from flare_deploy.provision.kit import Kit
from flare_deploy.provision.project import Project
from flare_deploy.server.admin_handlers import AdminHandlers
from flare_deploy.server.blobs import Blobs
from flare_deploy.server.followers import Followers
from flare_deploy.server.job_records import JobRecords
from flare_deploy.server.members import Members
from flare_deploy.server.running import RunningJob
from flare_deploy.server.scheduler import Capacity, Needs, grant, natural_order
from flare_deploy.server.site_archives import prepare_job
from flare_deploy.server.site_handlers import SiteHandlers
from flare_deploy.server.store import DatabaseError, JobRow, Store
from flare_runtime.run.folder import make_stamped
from flare_tensor_downloader import Downloader
from flare_transport import Cell, TransportError
from flare_transport.address import speaks_for
from flare_transport.certificates import Authority

logger = logging.getLogger(__name__)

ABORTED_BY = "aborted by "  # the reason of an aborted job begins with it, even before its process has ended


class StoppingError(FlareError):
    """The server is being stopped and answers again after its restart."""


class ServerDaemon:
    """The server of one project.

    ``lock`` guards the state of jobs and sites. Requests are handled on many threads, so whoever reads and then changes
    that state holds it; waiting for a file or the network while holding it would delay every other request.

    Args:
        folder: the server's kit.
    Raises:
        KitError: the kit cannot be used.
        FlareError: its settings cannot be read.
        StoreError: the database cannot be used.
        AddressError: the port is in use; names it.
    """

    def __init__(self, folder: Path) -> None:
        self.kit = Kit.load(folder, kind="server")
        state = self.kit.folder / "state"
        settings = read_settings(
            self.kit.folder / "local" / "server.json",
            database=f"sqlite:///{state / 'flare.db'}",
            blobs=str(state / "blobs"),
            max_jobs=4,
            listen=f"grpc://0.0.0.0:{self.kit.info.address.rpartition(':')[2]}",
            link_grace_s=30.0,
        )
        self._max_jobs: int = settings["max_jobs"]
        self._listen: str = settings["listen"]
        state.mkdir(exist_ok=True)
        self._lock_file = LockFile(state / "lock", f"the server of {self.kit.folder}")
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.store = Store(settings["database"])
        self.blobs = Blobs(settings["blobs"])
        self.jobs_folder = self.kit.folder / "jobs"
        self.jobs_folder.mkdir(exist_ok=True)
        kill_orphans(self.jobs_folder)
        self.members = Members(self.store, self.kit.info, _authority_of(self.kit))
        self._add_provisioned()
        self.records = JobRecords(self.store, self.jobs_folder, self.changed, self._schedule, self._end_recorded)
        self._ended: dict[str, RunningJob] = {}  # their ends are not recorded yet
        self.connected: dict[str, Capacity] = {}
        self.running: dict[str, RunningJob] = {}
        self._stopping = False
        self.cell = Cell(
            self.kit.info.name,
            reconnect_grace_s=settings["link_grace_s"],
            admits=self.members.refusal,
            forwards=self._may_forward,
        )
        self.downloader = Downloader(self.cell)
        self.followers = Followers(self)
        self._losses: deque[tuple[str, str]] = deque()  # of connections, in their order; not handled yet
        self.cell.on_peer_lost(self._note_loss, inline=True)
        self.cell.on_peer_lost(lambda peer, error: self.handle_losses())
        AdminHandlers(self)
        SiteHandlers(self)

    def listen(self) -> str:
        """Accept connections and resume the jobs that were running; return the address."""
        with self.lock:  # a site that connects at once must learn which jobs are still running
            address = self.cell.listen(self._listen, credentials=self.kit.credentials)
            logger.info("listening address=%s project=%s", address, self.kit.info.project)
            for row in self.store.jobs(states=(RunStatus.RUNNING.value,)):
                if row.reason.startswith(ABORTED_BY):  # the server was killed before the job had ended
                    (self.jobs_folder / row.id / "run" / "summary.json").unlink(missing_ok=True)
                    self.records.record_end(row, RunStatus.ABORTED, row.reason)
                else:
                    self._start(row, row.needs.get("cards", {}))
            self.schedule()
        return address

    def _may_forward(self, sender: str, to: str) -> bool:
        """Return True if two sites work on the same job; only then may one send messages to the other."""
        return any(job.serves(sender) and job.serves(to) for job in self.running.copy().values())

    def close(self) -> None:
        """Stop everything; running jobs continue when the server is restarted."""
        with self.lock:
            self._stopping = True
            self.records.close()
            self.changed.notify_all()
            running = list(self.running.values())
        for job in running:
            job.close()
        self.cell.close()
        self.followers.close()
        self.store.close()
        self._lock_file.release()

    def check_open(self) -> None:
        """Raise an error if the server is being stopped, so that no request waits any longer.

        Raises:
            StoppingError: it is being stopped.
        """
        if self._stopping:
            raise StoppingError("the server is being stopped; ask again when it is back")

    def add_job(self, row: JobRow, archive: Path | None = None) -> None:
        """Store a new job under an id of its own, and start it if possible.

        Args:
            row: the job, without an id.
            archive: its content; None if that is stored already.
        Raises:
            JobError: the content is no longer there, or cannot be unpacked.
        """
        folder = make_stamped(self.jobs_folder)
        row.id = folder.name
        try:
            if archive is not None:
                self.blobs.put(archive, row.blob)
            prepare_job(folder, self.blobs, row.blob)  # without the lock: unpacking a large job takes long
            with self.lock:
                if archive is not None:
                    self.blobs.put(archive, row.blob)  # again, in case the last job with this content was just deleted
                elif not self.store.has_blob(row.blob):
                    raise JobError("the job was deleted while it was cloned")
                self.store.add_job(row)
                self.schedule()
        except BaseException:
            shutil.rmtree(folder)
            raise

    def delete_job(self, row: JobRow) -> None:
        """Delete a job that has ended, its folder, and its content unless another job has the same."""
        with self.lock:
            self.store.delete_job(row.id)
            if not self.store.has_blob(row.blob):
                self.blobs.delete(row.blob)
        shutil.rmtree(self.jobs_folder / row.id, ignore_errors=True)

    def schedule(self) -> None:
        """Start the jobs that can run now, and record what the others are waiting for."""
        try:
            self._schedule()
        except DatabaseError as error:
            self.records.retry(error)

    def _schedule(self) -> None:
        if self._stopping:
            return
        waiting = self.store.jobs(states=(RunStatus.SUBMITTED.value, RunStatus.WAITING.value))
        for row in sorted(waiting, key=lambda each: -each.priority):
            if row.id in self.running or self.records.unrecorded_end(row.id) is not None:
                continue  # the database does not know yet that it has started, or ended
            if len(self.running) >= self._max_jobs:
                reason = f"{len(self.running)} jobs are running, which is as many as max_jobs allows"
            else:
                granted = grant(Needs.from_json(row.needs), self.sites_of(row.study), self.connected)
                if not isinstance(granted, str):
                    self._start(row, granted)
                    continue
                reason = granted
            if (row.state, row.reason) != (RunStatus.WAITING.value, reason):
                self.records.update(row.id, state=RunStatus.WAITING.value, reason=reason)

    def sites_of(self, study: str) -> tuple[str, ...]:
        """Return the sites that take part in a study, in order."""
        return natural_order(each.name for each in self.members.sites() if each.is_in(study))

    def abort(self, row: JobRow, admin: str) -> None:
        """End a running or waiting job on behalf of an administrator.

        Raises:
            JobError: the job has ended or is about to, but a restarted server would run it, as that is not written yet.
        """
        with self.lock:
            running = self.running.get(row.id)
            reason = ABORTED_BY + admin
            if running is not None:
                self.records.update(row.id, reason=reason)  # holds even if the server is killed before the job ends
                running.abort(reason)
            elif self.records.unrecorded_end(row.id) is None and not self.store.job(row.id).has_ended:
                self.records.record_end(row, RunStatus.ABORTED, reason)
            if not self.records.is_written(row.id):
                raise JobError(
                    f"the job {row.id} is aborted or over, but the server's disk or database cannot be used now, so it "
                    "would run again if the server were restarted before its end is recorded; abort it again later"
                )

    def disconnect(self, name: str) -> None:
        """Close the connections of a participant, or of a job's process, here and at its relay."""
        for peer in self.cell.peers:
            if speaks_for(name, peer):
                self.cell.disconnect(peer)
        relay = self.members.relay_of(name)
        if relay is not None:
            try:
                self.cell.send(relay.name, "relay.cut", [name])
            except TransportError as error:
                logger.info("relay cannot be reached relay=%s name=%s reason=%s", relay.name, name, error)
        self._sites_lost(name, "it was disconnected")
        with self.lock:
            self.schedule()  # what a waiting job says it waits for may have changed

    def remove(self, name: str) -> None:
        """Remove a participant from the project, and its sites from the jobs that are running.

        Raises:
            MembersError: no participant has that name.
        """
        self.members.remove(name)
        self.disconnect(name)
        with self.lock:
            for job in self.running.values():
                for site in set(job.sites).difference(self.sites_of(job.row.study)):
                    job.site_removed(site)

    def _start(self, row: JobRow, gpus: Mapping[str, Sequence[int]]) -> None:
        folder = self.jobs_folder / row.id
        try:
            prepare_job(folder, self.blobs, row.blob)  # was done when the job was added, unless the folder was lost
        except (JobError, OSError) as error:
            self.records.record_end(row, RunStatus.FAILED, str(error))
            return
        needs = Needs.from_json(row.needs)
        self.records.update(row.id, needs=json.dumps({**row.needs, "cards": gpus}))  # for a restart of the server
        sites = tuple(site for site in self.sites_of(row.study) if not needs.sites or site in needs.sites)
        job = self.running[row.id] = RunningJob(self, row, folder, sites=sites, gpus=gpus)
        try:
            job.start([site for site in self.connected if self.reserve(job, site)])
        except (OSError, RuntimeError) as error:  # no disk space, descriptors or threads left
            self._finish(row.id, RunStatus.FAILED, f"the job's process at the server cannot be started ({error})")

    def reserve(self, job: RunningJob, site: str) -> bool:
        """Reserve what a job needs at a connected site; return False if that is not free."""
        if site not in job.sites:
            return False
        capacity, wanted = self.connected[site], Needs.from_json(job.row.needs).at(site)
        if site not in job.gpus:
            found = capacity.fit(wanted)
            if isinstance(found, str):
                logger.info("site left out job=%s site=%s reason=%s", job.row.id, site, found)
                return False
            job.gpus[site] = found
        capacity.reserve(job.row.id, tuple(job.gpus[site]), wanted)
        return True

    def job_started(self, job: str, attempt: int) -> None:
        """Record that the process of a job is about to be started."""
        row = self.running[job].row
        reason = "" if attempt == 1 else f"attempt {attempt}, continuing after the last completed round"
        row.started = row.started or time.time()
        self.records.update(job, state=RunStatus.RUNNING.value, reason=reason, started=row.started, attempts=attempt)

    def job_ended(self, job: str, status: RunStatus, reason: str) -> None:
        """Record how and why a job has ended, and start the next."""
        if not self._stopping:
            self._finish(job, status, reason)
            self.schedule()

    def _finish(self, job: str, status: RunStatus, reason: str) -> None:
        """Release what a job has reserved, and record how it ended."""
        logger.info("job ended job=%s status=%s reason=%s", job, status, reason)
        running = self._ended[job] = self.running.pop(job)
        for capacity in self.connected.values():
            capacity.release(job)
        self.records.record_end(running.row, status, reason)

    def _end_recorded(self, job: str) -> None:
        ended = self._ended.pop(job, None)
        if ended is not None:  # only now, since a server that is killed before this runs the job again
            ended.stop_sites()
        self.followers.wake(job)

    def _note_loss(self, peer: str, error: BaseException | None) -> None:
        self._losses.append((peer, f"its connection ended ({error or 'closed'})"))

    def handle_losses(self) -> None:
        """Mark the sites behind lost connections as disconnected, before any of them that is back is made known."""
        with self.lock:
            while self._losses:
                self._sites_lost(*self._losses.popleft())

    def _sites_lost(self, peer: str, reason: str) -> None:
        """Mark a site, or all sites behind a relay, as disconnected."""
        with self.lock:
            if self._stopping:
                return
            lost = [site for site in self.connected if speaks_for(peer, site)]
            for site in lost:
                del self.connected[site]
                logger.info("site disconnected site=%s reason=%s", site, reason)
                for job in self.running.values():
                    job.site_left(site, reason)
            if lost:
                self.schedule()
            self.changed.notify_all()

    def _add_provisioned(self) -> None:
        path = self.kit.folder / "startup" / "participants.json"
        if path.is_file():
            self.members.add_provisioned(json.loads(path.read_text()))


def _authority_of(kit: Kit) -> Authority | None:
    """Return the project's authority if its key is on this machine, as it is after ``flare up``."""
    project = kit.folder.parent
    return Project.load(project).authority if (project / "authority" / "private.key").is_file() else None
