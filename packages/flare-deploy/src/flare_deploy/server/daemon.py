"""The server's daemon: who is connected, which jobs run, what starts next. What others ask is served by its desks."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core import FlareError, JobError, RunStatus
from flare_deploy.archive import unpack
from flare_deploy.processes.job_process import end_orphans
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.provision.kit import Kit
from flare_deploy.provision.project import Project
from flare_deploy.server.admin_desk import AdminDesk
from flare_deploy.server.blobs import Blobs
from flare_deploy.server.members import Members
from flare_deploy.server.running import RunningJob
from flare_deploy.server.scheduler import Capacity, Needs, grant, natural_order
from flare_deploy.server.settings import ServerSettings
from flare_deploy.server.site_archives import ARCHIVES, make_site_archives
from flare_deploy.server.site_desk import SiteDesk
from flare_deploy.server.store import DatabaseError, JobRow, Store
from flare_runtime.run.folder import make_stamped
from flare_runtime.run.record import write_summary
from flare_tensor_downloader import Downloader
from flare_transport import Cell, TransportError
from flare_transport.address import speaks_for

__all__ = ["ServerDaemon"]

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 5.0  # between attempts to write down what could not be

ABORTED_BY = "aborted by "  # begins the reason of a job that is to end


class StoppingError(FlareError):
    """The server is being stopped, and will answer when it is started again."""


@dataclass(slots=True)
class _End:
    """How a job ended, and why that is not written down yet."""

    row: JobRow
    status: RunStatus
    reason: str
    ended: float
    problem: str = ""


class ServerDaemon:
    """Serves one project until it is stopped.

    Args:
        folder: the server's kit.
    Raises:
        KitError: the kit cannot be used.
        StoreError: the database cannot be used.
        AddressError: the port is in use; names it.
    """

    def __init__(self, folder: Path) -> None:
        self.kit = Kit.load(folder, kind="server")
        self.settings = ServerSettings(self.kit)
        state = self.kit.folder / "state"
        state.mkdir(exist_ok=True)
        self._lock_file = LockFile(state / "lock", f"the server of {self.kit.folder}")
        self.lock = threading.RLock()
        self.store = Store(self.settings.database)
        self.blobs = Blobs(self.settings.blobs)
        self.jobs_folder = self.kit.folder / "jobs"
        self.jobs_folder.mkdir(exist_ok=True)
        end_orphans(self.jobs_folder)
        self.members = Members(self.store, self.kit.info, _authority_of(self.kit))
        self._add_provisioned()
        self.changed = threading.Condition(self.lock)
        self.connected: dict[str, Capacity] = {}
        self.since: dict[str, float] = {}
        self.running: dict[str, RunningJob] = {}
        self._stopping = False
        self._unsaved: dict[str, dict[str, Any]] = {}  # by job, what the database could not take yet
        self._unrecorded: dict[str, _End] = {}  # by job, the ends that could not be written down yet
        self._is_behind = False  # so that a thread tries to write again
        self.cell = Cell(
            self.kit.info.name,
            reconnect_grace_s=self.settings.link_grace_s,
            admits=self.members.refusal,
            forwards=self._may_talk,
        )
        self.downloader = Downloader(self.cell)
        self.cell.on_peer_lost(self._peer_lost)
        AdminDesk(self)
        SiteDesk(self)

    def listen(self) -> str:
        """Begin to serve; return the address."""
        with self.lock:  # so that a site which comes at once is told of the jobs that go on
            address = self.cell.listen(self.settings.listen, credentials=self.kit.credentials)
            logger.info("listening address=%s project=%s", address, self.kit.info.project)
            for row in self.store.jobs(states=(RunStatus.RUNNING.value,)):
                if row.reason.startswith(ABORTED_BY):  # as whoever asked for it was told
                    (self.jobs_folder / row.id / "run" / "summary.json").unlink(missing_ok=True)
                    self._record_end(row, RunStatus.ABORTED, row.reason)
                else:
                    self._start(row, row.needs.get("cards", {}))
            self.schedule()
        return address

    def _may_talk(self, sender: str, to: str) -> bool:
        """Whether two sites may talk: while they work on the same job."""
        return any(job.serves(sender) and job.serves(to) for job in self.running.copy().values())

    def close(self) -> None:
        """End everything; running jobs go on when the server is started again."""
        with self.lock:
            self._stopping = True
            self.changed.notify_all()
            running = list(self.running.values())
        for job in running:
            job.close()
        self.cell.close()
        self.store.close()
        self._lock_file.release()

    def check_open(self) -> None:
        """Refuse to wait any longer if the server is being stopped.

        Raises:
            StoppingError: it is.
        """
        if self._stopping:
            raise StoppingError("the server is being stopped; ask again when it is there")

    def add_job(self, row: JobRow, archive: Path | None = None) -> None:
        """Keep a new job under an id of its own, and start it if that is possible.

        Args:
            row: the job, without an id.
            archive: its content; None if that is kept already.
        Raises:
            JobError: the content is not there any more, or cannot be unpacked.
        """
        folder = make_stamped(self.jobs_folder)
        row.id = folder.name
        try:
            if archive is not None:
                self.blobs.put(archive, row.blob)
            self._prepare(row)  # which takes long if there is much; nobody else waits for it
            with self.lock:
                if archive is not None:
                    self.blobs.put(archive, row.blob)  # once more, if the last job that had it was deleted meanwhile
                elif not self.store.has_blob(row.blob):
                    raise JobError("the job was deleted while it was cloned")
                self.store.add_job(row)
                self.schedule()
        except BaseException:
            shutil.rmtree(folder)
            raise

    def delete_job(self, row: JobRow) -> None:
        """Forget a job that has ended, and what was kept of it."""
        with self.lock:
            self.store.delete_job(row.id)
            if not self.store.has_blob(row.blob):
                self.blobs.delete(row.blob)
        shutil.rmtree(self.jobs_folder / row.id, ignore_errors=True)

    def schedule(self) -> None:
        """Start the jobs that can run now, and say of the others what they wait for."""
        try:
            self._schedule()
        except DatabaseError as error:
            self._try_again(error)

    def _schedule(self) -> None:
        if self._stopping:
            return
        waiting = self.store.jobs(states=(RunStatus.SUBMITTED.value, RunStatus.WAITING.value))
        for row in sorted(waiting, key=lambda each: -each.priority):
            if row.id in self.running or row.id in self._unrecorded:
                continue  # which the database does not know yet
            needs = Needs.from_json(row.needs)
            if len(self.running) >= self.settings.max_jobs:
                reason = f"{len(self.running)} jobs are running, which is as many as max_jobs allows"
            else:
                granted = grant(needs, self.sites_of(row.study), self.connected)
                reason = granted.reason
                if not reason:
                    self._start(row, granted.cards)
                    continue
            if (row.state, row.reason) != (RunStatus.WAITING.value, reason):
                self.update(row.id, state=RunStatus.WAITING.value, reason=reason)

    def sites_of(self, study: str) -> tuple[str, ...]:
        """The sites that take part in a study, in order."""
        return natural_order(each.name for each in self.members.sites() if each.is_in(study))

    def update(self, job: str, **changes: Any) -> None:
        """Change a job's row, and tell those who wait for that."""
        with self.lock:
            self._unsaved[job] = {**self._unsaved.get(job, {}), **changes}
            self._save()

    def abort(self, row: JobRow, who: str) -> None:
        """End a job, whether it runs or waits."""
        with self.lock:
            running = self.running.get(row.id)
            reason = ABORTED_BY + who
            if running is not None:
                self.update(row.id, reason=reason)  # so that it holds even if the server is killed before the job ends
                running.abort(reason)
            elif row.id not in self._unrecorded and not self.store.job(row.id).has_ended:
                self._record_end(row, RunStatus.ABORTED, reason)

    def put_out(self, name: str) -> None:
        """End what a participant, or a process of a job, has open here, or at a relay."""
        for peer in self.cell.peers:
            if speaks_for(name, peer):
                self.cell.disconnect(peer)
        relay = self.members.relay_of(name)
        if relay is not None:
            try:
                self.cell.send(relay.name, "relay.cut", [name])
            except TransportError as error:
                logger.info("relay not told relay=%s of=%s reason=%s", relay.name, name, error)
        self._left(name, "it was put out")
        with self.lock:
            self.schedule()  # jobs may wait for it that need not any more, or in vain

    def remove(self, name: str) -> None:
        """Put a participant out for good; jobs that run are told which sites will not come back.

        Raises:
            MembersError: nobody is called so.
        """
        self.members.remove(name)
        self.put_out(name)
        with self.lock:
            for job in self.running.values():
                for site in set(job.sites).difference(self.sites_of(job.row.study)):
                    job.site_removed(site)

    def _prepare(self, row: JobRow) -> None:
        """Unpack a job's content in its folder, and make the sites' archives, if that was not done yet."""
        folder = self.jobs_folder / row.id
        app, archives = folder / "app", folder / ARCHIVES
        if app.is_dir() and archives.is_dir():
            return
        (folder / "run" / "server").mkdir(parents=True, exist_ok=True)
        (folder / "run" / "sites").mkdir(exist_ok=True)
        for path in (app, archives, partial := folder / "app.partial"):
            shutil.rmtree(path, ignore_errors=True)
        self.blobs.get(row.blob, folder / "job.zip")
        unpack(folder / "job.zip", partial)
        archives.mkdir()
        make_site_archives(partial, archives)  # before the job's process leaves compiled modules among its files
        (folder / "job.zip").unlink()
        partial.rename(app)

    def _start(self, row: JobRow, cards: Any) -> None:
        folder = self.jobs_folder / row.id
        try:
            self._prepare(row)  # done long ago, unless the folder was lost
        except (JobError, OSError) as error:
            self._record_end(row, RunStatus.FAILED, str(error))
            return
        needs = Needs.from_json(row.needs)
        self.update(row.id, needs=json.dumps({**row.needs, "cards": cards}))
        sites = tuple(site for site in self.sites_of(row.study) if not needs.sites or site in needs.sites)
        job = self.running[row.id] = RunningJob(
            row,
            folder,
            cell=self.cell,
            downloader=self.downloader,
            sites=sites,
            cards=cards,
            lock=self.lock,
            ended=self._job_ended,
            started=self._job_started,
            connected=lambda: list(self.connected),
        )
        try:
            job.start([site for site in self.connected if self.hold(job, site)])
        except (OSError, RuntimeError) as error:  # no room, no descriptors, no threads
            self._let_go(row.id, RunStatus.FAILED, f"the job's process at the server cannot be started ({error})")

    def hold(self, job: RunningJob, site: str) -> bool:
        """Give a job what it needs at a site that is there; false if that is not free."""
        if site not in job.sites:
            return False
        capacity, wanted = self.connected[site], Needs.from_json(job.row.needs).at(site)
        if site not in job.cards:
            found = capacity.fit(wanted)
            if isinstance(found, str):
                logger.info("site left out job=%s site=%s reason=%s", job.row.id, site, found)
                return False
            job.cards[site] = found
        capacity.hold(job.row.id, tuple(job.cards[site]), wanted)
        return True

    def _job_started(self, job: str, attempt: int) -> None:
        row = self.running[job].row
        reason = "" if attempt == 1 else f"started for the {attempt}. time, from the last completed round"
        row.started = row.started or time.time()
        self.update(job, state=RunStatus.RUNNING.value, reason=reason, started=row.started, attempts=attempt)

    def _job_ended(self, job: str, status: RunStatus, reason: str) -> None:
        if not self._stopping:
            self._let_go(job, status, reason)
            self.schedule()

    def _let_go(self, job: str, status: RunStatus, reason: str) -> None:
        logger.info("job ended job=%s status=%s reason=%s", job, status, reason)
        running = self.running.pop(job)
        running.stop_sites()
        for capacity in self.connected.values():
            capacity.release(job)
        self._record_end(running.row, status, reason)

    def _record_end(self, row: JobRow, status: RunStatus, reason: str) -> None:
        """Write down how a job ended; as soon as that can be done, if it cannot now."""
        with self.lock:
            self._unrecorded[row.id] = _End(row, status, reason, time.time())
            self._record_ends()

    def unrecorded_end(self, job: str) -> str | None:
        """What a job that has ended waits for until its end is recorded; None if it does not wait."""
        end = self._unrecorded.get(job)
        if end is None:
            return None
        return f"its end ({end.status.value}) to be recorded{end.problem}"

    def _record_ends(self) -> None:
        for id_, end in list(self._unrecorded.items()):
            summary = self.jobs_folder / id_ / "run" / "summary.json"
            values = {"outcome": end.status.value, "job": end.row.name, "job_id": id_, "error": end.reason or None}
            changes = self._unsaved.get(id_, {}) | {"state": end.status.value, "reason": end.reason, "ended": end.ended}
            try:
                if not summary.is_file():
                    summary.parent.mkdir(parents=True, exist_ok=True)  # the folder may have been lost
                    write_summary(summary, values)
                self.store.update_job(id_, **changes)
            except (OSError, DatabaseError) as error:
                end.problem = f", which is not possible yet: {error}"
                self._try_again(error)
            else:
                del self._unrecorded[id_]
                self._unsaved.pop(id_, None)
                self.changed.notify_all()

    def _save(self) -> None:
        """Have the database take what it could not before."""
        for id_, changes in list(self._unsaved.items()):
            try:
                self.store.update_job(id_, **changes)
            except DatabaseError as error:
                return self._try_again(error)
            if self._unsaved.get(id_) is changes:
                del self._unsaved[id_]
            self.changed.notify_all()

    def _try_again(self, error: Exception) -> None:
        """Have a thread try to write again what could not be written, until that succeeds."""
        logger.error("not written yet, trying again reason=%s", error)
        if not self._is_behind:
            self._is_behind = True
            threading.Thread(target=self._catch_up, name="flare-catch-up", daemon=True).start()

    def _can_read(self) -> bool:
        try:
            self._schedule()
        except DatabaseError:
            return False
        return True

    def _catch_up(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            with self.changed:
                if self.changed.wait_for(lambda: self._stopping, pause_s):
                    return
                self._record_ends()
                self._save()
                if not self._unrecorded and not self._unsaved and self._can_read():
                    self._is_behind = False
                    logger.info("all that was waiting has been written")
                    return
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        self._left(peer, f"its connection ended ({error or 'closed'})")

    def _left(self, peer: str, reason: str) -> None:
        """Take note that a site, or all that are behind a relay, are not connected any more."""
        with self.lock:
            if self._stopping:
                return
            gone = [site for site in self.connected if speaks_for(peer, site)]
            for site in gone:
                del self.connected[site]
                logger.info("site disconnected site=%s reason=%s", site, reason)
                for job in self.running.values():
                    job.site_left(site, reason)
            if gone:
                self.schedule()  # which says of the jobs that wait what they wait for now
            self.changed.notify_all()

    def _add_provisioned(self) -> None:
        path = self.kit.folder / "startup" / "participants.json"
        if path.is_file():
            self.members.add_known(json.loads(path.read_text()))


def _authority_of(kit: Kit) -> Any:
    project = kit.folder.parent
    return Project.load(project).authority if (project / "authority" / "private.key").is_file() else None
