"""What administrators can ask the server for. Topics, all requests; what is returned are plain values:

admin.submit    [archive, sha256, {study, priority}]  -> a job
admin.jobs      [study or nil]                        -> jobs
admin.job       [job]                                 -> a job, with what it waits for if it runs
admin.wait      [job, state, reason]                  -> a job, once it is not in that state any more
admin.abort     [job]        admin.delete [job]        admin.clone [job] -> a job
admin.files     [job]                                 -> [[name, reference], …] of the run's folder
admin.read      [job, name, offset, follow]           -> [bytes, is over]
admin.status    []                                    -> the server, its sites and jobs
admin.members   []                                    -> participants
admin.invite    [name, {kind, role, org, studies, days, address}] -> a token
admin.remove    [name]
admin.audit     [count]                               -> the last lines of the audit log
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flare_core
from flare_core import FlareError, JobError, RunStatus
from flare_core.job import check_name
from flare_deploy.archive import MAX_ARCHIVE_BYTES, read_entry, sha256_of
from flare_deploy.participants import forwards
from flare_deploy.server.members import MembersError
from flare_deploy.server.rights import RightsError, check_right, check_studies
from flare_deploy.server.scheduler import Needs, natural_order
from flare_deploy.server.store import DatabaseError, JobRow, Participant
from flare_runtime.terminal import one_line
from flare_tensor_downloader import add_file, download_file
from flare_transport import Message, TransportError, blocking

if TYPE_CHECKING:
    from flare_deploy.server.daemon import ServerDaemon

__all__ = ["VERBS", "AdminDesk"]

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 18
MOST_REQUESTS = 32  # of one administrator at the same time: each that waits holds a thread
MOST_LINES = 10_000
MOST_CHARACTERS = 100  # of an option, and so of a column
MOST_PRIORITY = 1_000_000
VERBS: dict[str, tuple[str, tuple[Any, ...]]] = {  # the right that each needs, and the types of its values
    "submit": ("submit", (str, str, dict)),
    "jobs": ("view", (str | None,)),
    "job": ("view", (str,)),
    "wait": ("view", (str, str, str)),
    "abort": ("manage", (str,)),
    "delete": ("manage", (str,)),
    "clone": ("submit", (str,)),
    "files": ("download", (str,)),
    "read": ("view", (str, str, int, bool)),
    "status": ("view", ()),
    "members": ("view", ()),
    "invite": ("members", (str, dict)),
    "remove": ("members", (str,)),
    "audit": ("members", (int,)),
}
NOTED = ("submit", "abort", "delete", "clone", "files", "invite", "remove")  # in the audit log, and what is refused
OPTIONS: dict[str, dict[str, Any]] = {
    "submit": {"study": str | None, "priority": int | None},
    "invite": {"kind": str, "role": str, "org": str, "studies": str, "days": int, "address": str},
}
STATUS_S = 5.0  # how long a job's process may take to say what it waits for


class AdminDesk:
    """Serves administrators, each as far as its role allows."""

    def __init__(self, daemon: ServerDaemon) -> None:
        self._daemon = daemon
        self._store = daemon.store
        self._open: Counter[str] = Counter()  # requests by administrator
        self._lock = threading.Lock()
        for topic, (right, types) in VERBS.items():
            handler = getattr(self, f"_{topic}")
            daemon.cell.handle(f"admin.{topic}", self._guarded(topic, right, handler, types))

    def _guarded(
        self, topic: str, right: str, handler: Callable[..., Any], types: tuple[Any, ...]
    ) -> Callable[[Message], Any]:
        def guarded(message: Message) -> Any:
            who = self._daemon.members.active_owner_of(message.sender)
            if who.kind != "admin":
                raise MembersError(f"{who.name} is a {who.kind}; only administrators can ask for 'admin.{topic}'")
            with self._lock:
                if self._open[who.name] >= MOST_REQUESTS:
                    raise MembersError(f"{MOST_REQUESTS} requests of {who.name} are open; wait until one is answered")
                self._open[who.name] += 1
            try:
                check_right(who, right)
                found = handler(who, message, *_checked(topic, message.payload, types))
            except FlareError as error:
                if topic in NOTED or isinstance(error, RightsError):
                    self._note(who, topic, message, str(error))
                raise
            finally:
                with self._lock:
                    self._open[who.name] -= 1
            if topic in NOTED:
                self._note(who, topic, message, "ok")
            return found

        return guarded

    def _note(self, who: Participant, topic: str, message: Message, outcome: str) -> None:
        payload = message.payload
        target = payload[0] if isinstance(payload, list) and payload and topic != "submit" else ""
        name = target if isinstance(target, str) else f"a {type(target).__name__}"
        name = one_line(name)[:200]
        try:
            self._store.note(who.name, topic, name, one_line(outcome[:2000]))
        except DatabaseError as error:  # what was asked for is done; this log, too, tells who did it
            logger.error("audit who=%s what=%s target=%s outcome=%s: %s", who.name, topic, name, outcome, error)

    def _submit(self, who: Participant, message: Message, archive: str, sha256: str, options: dict[str, Any]) -> Any:
        study = str(options.get("study") or "default")
        check_name(study, what="a study")
        if not who.is_in(study):
            raise MembersError(f"{who.name} does not take part in the study {study!r}, but in {who.studies}")
        folder = Path(tempfile.mkdtemp(prefix="submitted-", dir=self._daemon.jobs_folder))
        try:
            with blocking():
                problem, path = download_file(
                    message.sender, archive, None, self._daemon.cell, folder, max_bytes=MAX_ARCHIVE_BYTES
                )
            if path is None or sha256_of(path) != sha256:
                raise JobError(f"the job did not arrive as it was sent ({problem or 'its digest differs'}); try again")
            meta = _meta_of(path)
            needs = Needs.of(meta)
            self._check_possible(needs, study)
            row = JobRow(
                id="",
                name=meta["name"],
                study=study,
                submitter=who.name,
                blob=sha256,
                priority=int(options.get("priority") or 0),
                needs=needs.to_json(),
                submitted=time.time(),
            )
            self._daemon.add_job(row, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return _plain(self._store.job(row.id))

    def _check_possible(self, needs: Needs, study: str) -> None:
        known = self._daemon.sites_of(study)
        wanted = max(needs.min_clients, len(needs.mandatory))
        those = f"the study {study!r} ({', '.join(known) or 'none'})"
        if wanted > len(known):
            raise JobError(
                f"the job needs {wanted} sites, but {len(known)} take part in {those}; invite more, or ask for fewer"
            )
        unknown = [site for site in natural_order({*needs.sites, *needs.mandatory}) if site not in known]
        named = [site for site in known if not needs.sites or site in needs.sites]
        if wanted > len(named) or set(unknown) & set(needs.mandatory):
            raise JobError(
                f"the job names {', '.join(unknown) or 'too few sites'}, and needs {wanted} sites of those that take"
                f" part in {those}{_meant(unknown, known)}; correct the names, or invite these sites first"
            )

    def _jobs(self, who: Participant, message: Message, study: str | None = None) -> list[dict[str, Any]]:
        return [_plain(row) for row in self._store.jobs(study=study) if who.is_in(row.study)]

    def _visible(self, who: Participant, id_: str) -> JobRow:
        row = self._store.job(id_)
        if not who.is_in(row.study):
            raise JobError(f"there is no job {id_!r}; see 'flare job list'")
        return row

    def _job(self, who: Participant, message: Message, id_: str) -> dict[str, Any]:
        return {**_plain(self._visible(who, id_)), **self._progress(id_)}

    def _progress(self, id_: str) -> dict[str, Any]:
        if (end := self._daemon.unrecorded_end(id_)) is not None:
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

    def _wait(self, who: Participant, message: Message, id_: str, state: str, reason: str) -> dict[str, Any]:
        self._visible(who, id_)
        with blocking(), self._daemon.changed:
            while True:
                self._daemon.check_open()
                row = self._store.job(id_)
                if (row.state, row.reason) != (state, reason) or row.has_ended:
                    return _plain(row)
                self._daemon.changed.wait()

    def _abort(self, who: Participant, message: Message, id_: str) -> None:
        row = self._visible(who, id_)
        check_right(who, "manage", row)
        self._daemon.abort(row, who.name)

    def _delete(self, who: Participant, message: Message, id_: str) -> None:
        row = self._visible(who, id_)
        check_right(who, "manage", row)
        if not row.has_ended:
            raise JobError(f"the job {id_} is {row.state}; abort it first, then delete it")
        self._daemon.delete_job(row)

    def _clone(self, who: Participant, message: Message, id_: str) -> dict[str, Any]:
        row = self._visible(who, id_)
        clone = JobRow(
            id="",
            name=row.name,
            study=row.study,
            submitter=who.name,
            blob=row.blob,
            priority=row.priority,
            needs={key: value for key, value in row.needs.items() if key != "cards"},
            submitted=time.time(),
        )
        self._daemon.add_job(clone)
        return _plain(self._store.job(clone.id))

    def _files(self, who: Participant, message: Message, id_: str) -> list[list[str]]:
        row = self._visible(who, id_)
        check_right(who, "download", row)
        if not row.has_ended:
            raise JobError(f"the job {id_} is {row.state}; wait for its end with 'flare job wait', or read its logs")
        run = self._daemon.jobs_folder / id_ / "run"
        return [
            [path.relative_to(run).as_posix(), add_file(self._daemon.downloader, path, [message.sender])]
            for path in sorted(run.rglob("*"))
            if path.is_file()
            and path.resolve().is_relative_to(run.resolve())  # a job's code can leave links there
            and not path.name.startswith(".")
            and not _is_kept_for_restart(path.relative_to(run))
        ]

    def _read(
        self, who: Participant, message: Message, id_: str, name: str, offset: int, follow: bool
    ) -> tuple[bytes, bool]:
        self._visible(who, id_)
        run = self._daemon.jobs_folder / id_ / "run"
        if "\0" in name or not 0 <= offset <= MAX_ARCHIVE_BYTES:
            raise JobError(f"{name!r} from byte {offset} is no log or record of a run")
        path = (run / name).resolve()
        is_record = path.is_relative_to(run.resolve()) and path.suffix in (".txt", ".jsonl", ".json")
        if not is_record or path.name.startswith(".") or _is_kept_for_restart(path.relative_to(run.resolve())):
            raise JobError(f"{name!r} is no log or record of a run")
        while True:
            is_over = self._store.job(id_).has_ended  # looked at before the file, so nothing is missed
            piece = b""
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(offset)
                    piece = file.read(PIECE_BYTES)
            if piece or is_over or not follow:
                return piece, is_over and not piece
            self._await_growth(id_, name, offset)

    def _await_growth(self, id_: str, name: str, size: int) -> None:
        """Wait until a file of a job that has not ended is longer, or its process is another one than now."""
        daemon = self._daemon
        with blocking(), daemon.changed:
            while not ((running := daemon.running.get(id_)) and running.is_up):
                daemon.check_open()
                if self._store.job(id_).has_ended:
                    return
                daemon.changed.wait()
            cell = running.cell_name
        try:
            with blocking():
                is_going_on = daemon.cell.request(cell, "job.growth", [name, size]).payload
        except TransportError as error:
            logger.debug("the job's process is gone job=%s reason=%s", id_, error)
            is_going_on = False
        with blocking(), daemon.changed:
            while not is_going_on and running.is_up and running.cell_name == cell:  # its end is about to be noticed
                daemon.check_open()
                daemon.changed.wait()

    def _status(self, who: Participant, message: Message) -> dict[str, Any]:
        daemon = self._daemon
        open_states = (RunStatus.SUBMITTED.value, RunStatus.WAITING.value, RunStatus.RUNNING.value)
        jobs = [row for row in self._store.jobs(states=open_states) if who.is_in(row.study)]
        return {
            "project": daemon.kit.info.project,
            "address": daemon.kit.info.address,
            "version": flare_core.__version__,
            "certificate_days_left": round(daemon.kit.days_left, 1),
            "sites": [self._site(who, each, daemon.since.get(each.name)) for each in daemon.members.sites()],
            "jobs": [{**_plain(row), **self._progress(row.id)} for row in jobs],
        }

    def _site(self, who: Participant, member: Participant, since: float | None) -> dict[str, Any]:
        is_there = member.name in self._daemon.connected
        return {
            "name": member.name,
            "connected": is_there,
            "since": since if is_there else None,
            "certificate_expires": member.expires or None,
            "jobs": [
                job.row.id
                for job in self._daemon.running.copy().values()
                if member.name in job.sites and who.is_in(job.row.study)
            ],
        }

    def _members(self, who: Participant, message: Message) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in asdict(each).items() if key not in ("guest", "fingerprint")}
            | {"connected": each.name in self._daemon.connected or each.name in self._daemon.cell.peers}
            for each in self._daemon.members.all()
        ]

    def _invite(self, who: Participant, message: Message, name: str, options: dict[str, Any]) -> str:
        check_studies(who, options.get("studies", "default"), f"inviting {name}")
        self._check_decides(who, name, options.get("kind", "client"))
        return self._daemon.members.invite(name, **options)

    def _check_decides(self, who: Participant, name: str, kind: str = "") -> None:
        """Refuse an administrator who decides on a participant of other studies, or on one that others depend on.

        Raises:
            RightsError: says why.
        """
        known = self._daemon.members.get(name)
        for each in {kind, "" if known is None else known.kind}:
            if forwards(each):
                check_studies(who, "*", f"the {each} {name}")
        if known is not None:
            check_studies(who, known.studies, f"{name}")

    def _remove(self, who: Participant, message: Message, name: str) -> None:
        self._check_decides(who, name)
        self._daemon.remove(name)

    def _audit(self, who: Participant, message: Message, count: int) -> list[dict[str, Any]]:
        check_studies(who, "*", "the audit log")
        if not 0 <= count <= MOST_LINES:
            raise MembersError(f"{count} lines of the audit log cannot be had; ask for up to {MOST_LINES}")
        return self._store.audit(count)


def _meant(unknown: Sequence[str], known: Sequence[str]) -> str:
    close = [match for site in unknown for match in get_close_matches(site, known, n=1)]
    return f"; is {close[0]} meant?" if close else ""


def _checked(topic: str, payload: Any, types: tuple[Any, ...]) -> list[Any]:
    """The parts of a request.

    Raises:
        MembersError: they are others than those at the head of this file.
    """
    if not isinstance(payload, list | tuple) or len(payload) != len(types) or not all(map(isinstance, payload, types)):
        raise MembersError(
            f"'admin.{topic}' is asked for with {len(types)} values of other types; is this version old?"
        )
    known = OPTIONS.get(topic)
    if known is not None:
        for key, value in payload[-1].items():
            if key not in known or not isinstance(value, known[key]):
                raise MembersError(f"'admin.{topic}': the option {str(key)[:40]!r} is unknown or of another type")
            if isinstance(value, str) and len(value) > MOST_CHARACTERS:
                raise MembersError(f"'admin.{topic}': {key} has more than {MOST_CHARACTERS} characters")
            if isinstance(value, int) and abs(value) > MOST_PRIORITY:
                raise MembersError(f"'admin.{topic}': {key} is more than {MOST_PRIORITY}")
    return list(payload)


def _plain(row: JobRow) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key != "needs"} | {
        "min_clients": row.needs.get("min_clients", 1)
    }


def _meta_of(archive: Path) -> dict[str, Any]:
    content = read_entry(archive, "meta.json")
    try:
        meta: dict[str, Any] = json.loads(content)
        check_name(meta["name"], what="a job's name")
        return meta
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise JobError(
            f"the archive is no job: {error}; submit a folder that 'recipe.export(...)' has written"
        ) from error


def _is_kept_for_restart(path: Path) -> bool:
    is_of_rounds = path.name == "state.json" or path.name.startswith(("round-", "state-", "best-"))
    return path.parts[0] == "server" and is_of_rounds
