"""AdminHandlers: answer the requests of administrators, which :mod:`~flare_deploy.server.admin_requests` lists."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flare_core
from flare_core import FlareError, JobError, RunStatus
from flare_core.job import check_name
from flare_deploy.archive import MAX_ARCHIVE_BYTES, sha256_of
from flare_deploy.participants import forwards
from flare_deploy.server.admin_requests import AUDITED, REQUESTS, check_request
from flare_deploy.server.followers import WINDOW_BYTES
from flare_deploy.server.job_files import files_of_job, files_of_run, is_kept_for_restart
from flare_deploy.server.members import MembersError
from flare_deploy.server.rights import RightsError, check_right, check_studies
from flare_deploy.server.scheduler import Needs
from flare_deploy.server.store import DatabaseError, JobRow, Participant
from flare_deploy.server.submissions import check_possible, read_meta_json
from flare_runtime.terminal import one_line
from flare_tensor_downloader import add_file, download_file
from flare_transport import Message, StreamWriter, TransportError, blocking

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 18
MAX_REQUESTS = 32  # open at the same time, by administrator; each that waits occupies a thread
MAX_AUDIT_ENTRIES = 10_000
MAX_JOBS = 1000  # in one page
STATUS_S = 5.0  # how long a job's process may take to report its progress


class AdminHandlers:
    """The handlers of administrators' requests; each checks the administrator's role and studies."""

    def __init__(self, daemon: ServerDaemon) -> None:
        self._daemon = daemon
        self._store = daemon.store
        self._open: Counter[str] = Counter()  # requests by administrator
        self._lock = threading.Lock()
        for name, (right, _) in REQUESTS.items():
            daemon.cell.handle(f"admin.{name}", self._guarded(name, right, getattr(self, f"_{name}")))

    def _guarded(self, name: str, right: str, handler: Callable[..., Any]) -> Callable[[Message], Any]:
        """Wrap a handler with the checks of the sender, its right and the payload, and with the audit log."""

        def guarded(message: Message) -> Any:
            admin = self._daemon.members.active_owner_of(message.sender)
            if admin.kind != "admin":
                raise MembersError(f"{admin.name} is a {admin.kind}; only administrators may request 'admin.{name}'")
            with self._lock:
                if self._open[admin.name] >= MAX_REQUESTS:
                    raise MembersError(f"{MAX_REQUESTS} requests of {admin.name} are open; wait for an answer first")
                self._open[admin.name] += 1
            try:
                check_right(admin, right)
                found = handler(admin, message, *check_request(name, message.payload))
            except FlareError as error:
                if name in AUDITED or isinstance(error, RightsError):
                    self._record(admin, name, message, str(error))
                raise
            finally:
                with self._lock:
                    self._open[admin.name] -= 1
            if name in AUDITED:
                self._record(admin, name, message, "ok")
            return found

        return guarded

    def _record(self, admin: Participant, request: str, message: Message, outcome: str) -> None:
        payload = message.payload
        target = payload[0] if isinstance(payload, list) and payload and request != "submit" else ""
        name = one_line(target if isinstance(target, str) else f"a {type(target).__name__}")[:200]
        try:
            self._store.record(admin.name, request, name, one_line(outcome[:2000]))
        except DatabaseError as error:  # the request is done; the log file names the administrator, too
            logger.error("audit who=%s what=%s target=%s outcome=%s: %s", admin.name, request, name, outcome, error)

    def _submit(self, admin: Participant, message: Message, archive: str, sha256: str, options: dict[str, Any]) -> Any:
        study = str(options.get("study") or "default")
        check_name(study, what="a study")
        if not admin.is_in(study):
            raise MembersError(f"{admin.name} does not take part in the study {study!r}, but in {admin.studies}")
        folder = Path(tempfile.mkdtemp(prefix="submitted-", dir=self._daemon.jobs_folder))
        try:
            with blocking():
                problem, path = download_file(
                    message.sender, archive, None, self._daemon.cell, folder, max_bytes=MAX_ARCHIVE_BYTES
                )
            if path is None or sha256_of(path) != sha256:
                raise JobError(f"the job did not arrive as it was sent ({problem or 'its digest differs'}); try again")
            meta = read_meta_json(path)
            needs = Needs.of(meta)
            check_possible(needs, study, self._daemon.sites_of(study))
            row = JobRow("", meta["name"], study, admin.name, sha256, priority=int(options.get("priority") or 0))
            return self._add(row, needs.to_json(), path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _add(self, row: JobRow, needs: dict[str, Any], archive: Path | None = None) -> dict[str, Any]:
        row.needs, row.submitted = needs, time.time()
        self._daemon.add_job(row, archive)
        return _plain(self._store.job(row.id))

    def _jobs(self, admin: Participant, message: Message, options: dict[str, Any]) -> list[dict[str, Any]]:
        limit = options.get("limit", MAX_JOBS)
        if not 0 < limit <= MAX_JOBS:
            raise JobError(f"a page of {limit} jobs is not available; request 1 to {MAX_JOBS}")
        studies = None if "*" in admin.studies.split(",") else admin.studies.split(",")
        if (study := options.get("study")) is not None:
            studies = [study] if admin.is_in(study) else []
        after = options.get("after")
        last = None if after is None else self._visible(admin, after)
        return [_plain(row) for row in self._store.jobs(studies=studies, limit=limit, after=last)]

    def _visible(self, admin: Participant, id_: str) -> JobRow:
        row = self._store.job(id_)
        if not admin.is_in(row.study):
            raise JobError(f"there is no job {id_!r}; see 'flare job list'")  # the same as for an id that is unknown
        return row

    def _job(self, admin: Participant, message: Message, id_: str) -> dict[str, Any]:
        return {**_plain(self._visible(admin, id_)), **self._progress(id_)}

    def _progress(self, id_: str) -> dict[str, Any]:
        if (end := self._daemon.records.unrecorded_end(id_)) is not None:
            return {"progress": {"waiting_for": end}}
        running = self._daemon.running.get(id_)
        if running is None:
            return {}
        try:
            with blocking():
                progress = self._daemon.cell.request(running.cell_name, "job.status", [], timeout_s=STATUS_S).payload
        except (TransportError, TimeoutError) as error:
            progress = {"waiting_for": f"the job's process at the server, which does not answer ({error})"}
        return {"progress": progress}

    def _wait(self, admin: Participant, message: Message, id_: str, state: str, reason: str) -> dict[str, Any]:
        self._visible(admin, id_)
        with blocking(), self._daemon.changed:
            while True:
                self._daemon.check_open()
                row = self._store.job(id_)
                if (row.state, row.reason) != (state, reason) or row.has_ended:
                    return _plain(row)
                self._daemon.changed.wait()

    def _abort(self, admin: Participant, message: Message, id_: str) -> None:
        row = self._visible(admin, id_)
        check_right(admin, "manage", row)
        self._daemon.abort(row, admin.name)

    def _delete(self, admin: Participant, message: Message, id_: str) -> None:
        row = self._visible(admin, id_)
        check_right(admin, "manage", row)
        if not row.has_ended:
            raise JobError(f"the job {id_} is {row.state}; abort it before you delete it")
        self._daemon.delete_job(row)

    def _clone(self, admin: Participant, message: Message, id_: str) -> dict[str, Any]:
        row = self._visible(admin, id_)
        needs = {key: value for key, value in row.needs.items() if key != "cards"}
        return self._add(JobRow("", row.name, row.study, admin.name, row.blob, priority=row.priority), needs)

    def _files(self, admin: Participant, message: Message, id_: str) -> list[list[str]]:
        return self._offered(files_of_run(self._ended(admin, id_) / "run"), message)

    def _job_files(self, admin: Participant, message: Message, id_: str) -> list[list[str]]:
        return self._offered(files_of_job(self._ended(admin, id_) / "app"), message)

    def _offered(self, files: Iterable[tuple[str, Path]], message: Message) -> list[list[str]]:
        return [[name, add_file(self._daemon.downloader, path, [message.sender])] for name, path in files]

    def _ended(self, admin: Participant, id_: str) -> Path:
        """Return the folder of a job that has ended and that an administrator may download."""
        row = self._visible(admin, id_)
        check_right(admin, "download", row)
        if not row.has_ended:
            raise JobError(f"the job {id_} is {row.state}; wait for its end with 'flare job wait', or read its logs")
        return self._daemon.jobs_folder / id_

    def _read(self, admin: Participant, message: Message, id_: str, name: str, offset: int) -> bytes:
        path = self._text_file(admin, id_, name, offset)
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)

    def _follow(self, admin: Participant, message: Message, id_: str, name: str, position: int, number: int) -> None:
        daemon = self._daemon
        daemon.check_open()
        path = self._text_file(admin, id_, name, position)

        def open_stream() -> StreamWriter:
            return daemon.cell.open_stream(message.sender, "follow", number, window_bytes=WINDOW_BYTES)

        daemon.followers.add(admin.name, id_, path, position, open_stream)

    def _text_file(self, admin: Participant, id_: str, name: str, offset: int) -> Path:
        """Return the path of a log or record of a run.

        Raises:
            JobError: it is another file, or the administrator sees no such job.
        """
        self._visible(admin, id_)
        run = self._daemon.jobs_folder / id_ / "run"
        if "\0" in name or not 0 <= offset <= MAX_ARCHIVE_BYTES:
            raise JobError(f"{name!r} from byte {offset} is no log or record of a run")
        path = (run / name).resolve()
        is_record = path.is_relative_to(run.resolve()) and path.suffix in (".txt", ".jsonl", ".json")
        if not is_record or path.name.startswith(".") or is_kept_for_restart(path.relative_to(run.resolve())):
            raise JobError(f"{name!r} is no log or record of a run")
        return path

    def _status(self, admin: Participant, message: Message) -> dict[str, Any]:
        daemon = self._daemon
        open_states = (RunStatus.SUBMITTED.value, RunStatus.WAITING.value, RunStatus.RUNNING.value)
        jobs = [row for row in self._store.jobs(states=open_states) if admin.is_in(row.study)]
        return {
            "project": daemon.kit.info.project,
            "address": daemon.kit.info.address,
            "version": flare_core.__version__,
            "certificate_days_left": round(daemon.kit.days_left, 1),
            "sites": [self._site(admin, each) for each in daemon.members.sites()],
            "jobs": [{**_plain(row), **self._progress(row.id)} for row in jobs],
        }

    def _site(self, admin: Participant, member: Participant) -> dict[str, Any]:
        capacity = self._daemon.connected.get(member.name)
        return {
            "name": member.name,
            "connected": capacity is not None,
            "since": None if capacity is None else capacity.since,
            "certificate_expires": member.expires or None,
            "jobs": [
                job.row.id
                for job in self._daemon.running.copy().values()
                if member.name in job.sites and admin.is_in(job.row.study)
            ],
        }

    def _members(self, admin: Participant, message: Message) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in asdict(each).items() if key not in ("guest", "fingerprint")}
            | {"connected": each.name in self._daemon.connected or each.name in self._daemon.cell.peers}
            for each in self._daemon.members.all()
        ]

    def _invite(self, admin: Participant, message: Message, name: str, options: dict[str, Any]) -> str:
        check_studies(admin, options.get("studies", "default"), f"inviting {name}")
        self._check_decides(admin, name, options.get("kind", "client"))
        return self._daemon.members.invite(name, **options)

    def _check_decides(self, admin: Participant, name: str, kind: str = "") -> None:
        """Check that an administrator may decide about a participant.

        It needs to take part in all studies of that participant, and in every study for a relay or another kind that
        forwards, since sites of any study depend on it.

        Raises:
            RightsError: it may not; says why.
        """
        known = self._daemon.members.get(name)
        for each in {kind, "" if known is None else known.kind}:
            if forwards(each):
                check_studies(admin, "*", f"the {each} {name}")
        if known is not None:
            check_studies(admin, known.studies, f"{name}")

    def _remove(self, admin: Participant, message: Message, name: str) -> None:
        self._check_decides(admin, name)
        self._daemon.remove(name)

    def _audit(self, admin: Participant, message: Message, count: int) -> list[dict[str, Any]]:
        check_studies(admin, "*", "the audit log")
        if not 0 <= count <= MAX_AUDIT_ENTRIES:
            raise MembersError(f"{count} entries of the audit log cannot be read; ask for up to {MAX_AUDIT_ENTRIES}")
        return self._store.audit(count)


def _plain(row: JobRow) -> dict[str, Any]:
    """Return a job as it is sent to administrators."""
    return {key: value for key, value in asdict(row).items() if key != "needs"} | {
        "min_clients": row.needs.get("min_clients", 1)
    }
