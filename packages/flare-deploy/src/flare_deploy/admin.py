"""The Python API for administrators, with the functions of the command line.

with Admin.connect("flare-project/admin") as admin:
    job = admin.submit("jobs/hello-pt")
    print(admin.wait(job["id"])["state"])
"""

from __future__ import annotations

import itertools
import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from flare_core import FlareError, Job, RunStatus, export_job
from flare_core.events import Event, RunEnded
from flare_deploy.archive import pack_folder, sha256_of
from flare_deploy.following import FollowedFile, Incoming
from flare_deploy.provision.kit import Kit
from flare_runtime.interrupts import interruptible
from flare_runtime.run.event_log import EVENTS, read_event
from flare_tensor_downloader import Downloader, add_file, download_file
from flare_transport import AuthenticationError, Cell, HandshakeError, RemoteError, StreamReader, TransportError

__all__ = ["Admin", "AdminError", "ServerAwayError"]

logger = logging.getLogger(__name__)

JobInfo = dict[str, Any]
AnswerT = TypeVar("AnswerT")


MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0
SETTLED_S = 60.0  # a request that was open for so long means that the server was back meanwhile
LINK_GRACE_S = 10.0
HANDSHAKES_PART = 0.1  # of patience_s, after which a failing handshake means that another server is there
_RETRYABLE = ("StoppingError", "DatabaseError")  # errors of a server that can answer later


class AdminError(FlareError):
    """The server refused, or cannot be reached."""


class ServerAwayError(AdminError):
    """The server is unavailable, or about to stop, and may come back."""


@dataclass(slots=True)
class _Absence:
    """A period in which the server is unavailable: why, since when, and how long to wait before the next attempt."""

    error: ServerAwayError
    began: float
    backoff_s: float = MIN_BACKOFF_S
    is_reported: bool = False


class Admin:
    """A connection of an administrator to the server; closed at the end of a ``with`` block.

    Every method raises :class:`AdminError` with the reason if the server refuses or cannot be reached. Methods that
    may take as long as a job, :meth:`wait`, :meth:`changes`, :meth:`follow`, :meth:`read` with ``follow`` and
    :meth:`download`, wait for a server that becomes unavailable, and continue when it is back.

    Args:
        cell: connected to the server; :meth:`close` closes it.
        kit: the administrator's.
    Attributes:
        patience_s: how many seconds these methods wait for the server to come back.
        notify: called on the waiting thread with a message when the server becomes unavailable, and when it is back.
    """

    def __init__(self, cell: Cell, kit: Kit) -> None:
        self._incoming: dict[int, Incoming] = {}
        self._lent: set[Incoming] = set()  # streams that are being read
        self._numbers = itertools.count(1)
        self._use(cell)
        self._reconnecting = threading.Lock()
        self._is_closed = threading.Event()
        self.kit = kit
        self.patience_s = 600.0
        self.notify: Callable[[str], Any] = logger.warning

    def _use(self, cell: Cell) -> None:
        self._cell = cell
        self._downloader = Downloader(cell)
        cell.handle_stream("follow", self._on_stream)

    @classmethod
    def connect(cls, kit: str | Path | Kit, *, timeout_s: float = 10.0) -> Admin:
        """Connect with an administrator's kit.

        Args:
            kit: the kit, or its folder.
            timeout_s: how long to wait for the server to answer.
        Raises:
            KitError: the kit cannot be used.
            AdminError: the server cannot be reached, or refuses.
        """
        kit = kit if isinstance(kit, Kit) else Kit.load(kit, kind="admin")
        try:
            cell = _connected(kit, timeout_s)
        except TransportError as error:
            raise AdminError(
                f"{error}; is the server of the project {kit.info.project} running? 'flare up' starts it, in the folder"
                " where it was run first"
            ) from error
        return cls(cell, kit)

    def close(self) -> None:
        """Close the connection."""
        self._is_closed.set()
        self._release_streams()
        self._downloader.close()
        self._cell.close()

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def submit(self, job: Job | str | Path, *, study: str = "default", priority: int = 0) -> JobInfo:
        """Submit a job.

        Args:
            job: the job, or the path of its folder.
            study: the study whose sites run the job and whose administrators see it.
            priority: jobs with a higher priority start first.
        Raises:
            AdminError: the folder has no job, or the server refuses the job; says why.
        """
        with tempfile.TemporaryDirectory(prefix="flare-submit-") as scratch:
            folder = export_job(job, Path(scratch)) if isinstance(job, Job) else Path(job)
            if not (folder / "meta.json").is_file():
                raise AdminError(
                    f"{folder} is not a job: it has no meta.json; give a folder that 'recipe.export(...)' has written"
                )
            archive = pack_folder(folder, Path(scratch) / "job.zip")
            reference = add_file(self._downloader, archive, [self.kit.info.server])
            submitted: JobInfo = self._ask(
                "submit", reference, sha256_of(archive), {"study": study, "priority": priority}
            )
            return submitted

    def jobs(self, study: str | None = None, *, limit: int = 1000, after: str | None = None) -> list[JobInfo]:
        """Return one page of jobs, oldest first.

        Args:
            study: only jobs of this study.
            limit: how many at most, from 1 to 1000.
            after: the id of a job; the page begins with the next one. Give the last id of a page to get the next page.
        """
        found: list[JobInfo] = self._ask("jobs", {"study": study, "limit": limit, "after": after})
        return found

    def job(self, id_: str) -> JobInfo:
        """Return a job; while it is running, with its round and what it is waiting for."""
        found: JobInfo = self._ask("job", id_)
        return found

    def wait(self, id_: str, timeout_s: float | None = None) -> JobInfo:
        """Wait until a job has ended, and return it.

        Raises:
            TimeoutError: it has not ended after ``timeout_s`` seconds.
        """
        for job in self.changes(id_, timeout_s):
            found = job
        return found

    def changes(self, id_: str, timeout_s: float | None = None) -> Iterator[JobInfo]:
        """Yield a job now and whenever its state or reason changes, until it has ended.

        Raises:
            TimeoutError: it has not ended ``timeout_s`` seconds after the iteration began.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        job = self._ask_until(until, "job", id_)
        yield job
        while not RunStatus(job["state"]).has_ended:
            job = self._ask_until(until, "wait", id_, job["state"], job["reason"])
            yield job

    def abort(self, id_: str) -> None:
        """Abort a job."""
        self._ask("abort", id_)

    def delete(self, id_: str) -> None:
        """Delete a job that has ended, with its results at the server."""
        self._ask("delete", id_)

    def clone(self, id_: str) -> JobInfo:
        """Submit the same job again."""
        found: JobInfo = self._ask("clone", id_)
        return found

    def download(self, id_: str, to: str | Path) -> Path:
        """Download the folder of a run that has ended into the folder ``to``, which is created.

        Raises:
            AdminError: a file cannot be downloaded, or its name leads out of ``to``.
        """
        return self._persistently(lambda: self._download(id_, Path(to)))

    def _download(self, id_: str, target: Path) -> Path:
        for name, reference in self._ask("files", id_):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise AdminError(f"the server has sent a file named {name!r}, which leads out of {target}")
            place.parent.mkdir(parents=True, exist_ok=True)
            problem, _ = download_file(self.kit.info.server, reference, None, self._cell, place.parent)
            if problem is not None:
                is_gone = self.kit.info.listener not in self._cell.peers
                raise ServerAwayError(problem) if is_gone else AdminError(problem)
        return target

    def logs(self, id_: str, site: str | None = None, *, follow: bool = False) -> Iterator[str]:
        """Yield the text of the server's log of a job, or of a site's.

        Args:
            id_: the job.
            site: the site; None for the server.
            follow: also yield what is added until the job has ended.
        """
        return self.read(id_, f"sites/{site}/log.txt" if site else "log.txt", follow=follow)

    def read(self, id_: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the text of a file in the run's folder, piece by piece.

        Args:
            id_: the job.
            name: the path of the file in the run's folder.
            follow: also yield what is added until the job has ended.
        """
        if follow:
            for lines in self._follow(id_, name):
                yield lines.decode("utf-8", "replace")
            return
        offset, rest = 0, b""
        while piece := bytes(self._ask("read", id_, name, offset)):
            offset += len(piece)
            lines, newline, rest = (rest + piece).rpartition(b"\n")
            yield (lines + newline).decode("utf-8", "replace")
        if rest:
            yield rest.decode("utf-8", "replace")

    def follow(self, id_: str) -> Iterator[Event]:
        """Yield the events of a run: those so far, then each as it happens, up to ``RunEnded``.

        A round that begins again after a crash of the job's process has its events twice.
        """
        for lines in self._follow(id_, EVENTS):
            for line in lines.splitlines():
                event = read_event(line)
                yield event
                if isinstance(event, RunEnded):
                    return
        job = self._persistently(lambda: self.job(id_))
        yield RunEnded(job["state"], job["reason"])  # its process has not come so far, or was killed

    def _follow(self, id_: str, name: str) -> Iterator[bytes]:
        """Yield whole lines of a file of a run until the job has ended."""
        file = FollowedFile(name, lambda position: self._open_stream(id_, name, position))
        try:
            while (lines := self._persistently(file.next)) is not None:
                yield lines
        finally:
            file.close()

    def _open_stream(self, id_: str, name: str, position: int) -> tuple[Incoming, StreamReader]:
        number = next(self._numbers)
        incoming = self._incoming[number] = Incoming()
        try:
            self._ask("follow", id_, name, position, number)
            return incoming, incoming.await_reader(LINK_GRACE_S)
        except TimeoutError as error:
            incoming.release()
            raise ServerAwayError(str(error)) from error
        finally:
            del self._incoming[number]

    def _on_stream(self, reader: StreamReader) -> None:
        incoming = self._incoming.get(reader.meta) if reader.sender == self.kit.info.server else None
        if incoming is None:
            raise AdminError(f"{self.kit.info.name} waits for no such stream")
        self._lent.add(incoming)
        try:
            if self._is_closed.is_set():
                incoming.release()
            incoming.lend(reader)
        finally:
            self._lent.discard(incoming)

    def _release_streams(self) -> None:
        for each in self._lent.copy():
            each.release()

    def status(self) -> dict[str, Any]:
        """Return the server, its sites, and every job that has not ended, with what it is waiting for."""
        found: dict[str, Any] = self._ask("status")
        return found

    def members(self) -> list[dict[str, Any]]:
        """Return all participants of the project, also the invited and the removed ones."""
        found: list[dict[str, Any]] = self._ask("members")
        return found

    def invite(
        self,
        name: str,
        *,
        kind: str = "client",
        role: str = "",
        org: str = "",
        studies: str = "default",
        days: int = 3,
        address: str = "",
    ) -> str:
        """Return a token with which a site, a relay or an administrator can join the project once.

        Args:
            name: the name of the participant. A site named ``hospital.ward`` connects through the relay ``hospital``.
            kind: ``client`` for a site, ``relay``, ``admin``, or a kind that a package at the server adds.
            role: the role of an administrator; see :mod:`flare_deploy.server.rights`.
            org: the participant's organization.
            studies: the studies in which it takes part: comma-separated names, or ``*`` for all.
            days: how long the token is valid.
            address: the address at which sites reach a relay, or another kind that forwards, ``grpc://host:port``.
        """
        options = {"kind": kind, "role": role, "org": org, "studies": studies, "days": days, "address": address}
        token: str = self._ask("invite", name, options)
        return token

    def remove(self, name: str) -> None:
        """Remove a site, a relay or an administrator from the project, at once; others are not affected."""
        self._ask("remove", name)

    def audit(self, count: int = 100) -> list[dict[str, Any]]:
        """Return the last entries of the audit log: who requested what, and whether it was allowed."""
        found: list[dict[str, Any]] = self._ask("audit", count)
        return found

    def _ask(self, topic: str, *payload: Any, timeout_s: float | None = None) -> Any:
        try:
            with interruptible():
                message = self._cell.request(self.kit.info.server, f"admin.{topic}", list(payload), timeout_s=timeout_s)
            return message.payload
        except RemoteError as error:
            kind = ServerAwayError if error.kind in _RETRYABLE else AdminError
            raise kind(str(error).removeprefix(f"{self.kit.info.server}: ")) from error
        except TransportError as error:
            raise ServerAwayError(
                f"the server of the project {self.kit.info.project} is unavailable: {error}"
            ) from error

    def _ask_until(self, until: float | None, topic: str, *payload: Any) -> Any:
        """Make a request whose answer may take long; wait for a server that is unavailable.

        Raises:
            TimeoutError: there is no answer when the monotonic clock reads ``until``.
        """

        def ask() -> Any:
            left = None if until is None else max(0.0, until - time.monotonic())
            return self._ask(topic, *payload, timeout_s=left)

        return self._persistently(ask, until)

    def _persistently(self, ask: Callable[[], AnswerT], until: float | None = None) -> AnswerT:
        """Make a request, and again whenever the server was unavailable and is back.

        Raises:
            AdminError: the server refuses, does not come back in time, or is another project's.
            TimeoutError: the server is not back when the monotonic clock reads ``until``.
        """
        absence: _Absence | None = None
        while True:
            cell, began = self._cell, time.monotonic()
            try:
                return ask()
            except ServerAwayError as error:
                if absence is None or time.monotonic() > began + SETTLED_S:
                    absence = _Absence(error, began=time.monotonic())
                self._await_server(cell, error, absence, until)

    def _await_server(self, lost: Cell, error: ServerAwayError, absence: _Absence, until: float | None) -> None:
        """Wait until the request can be repeated: reconnect if the connection was lost, else back off."""
        if self.patience_s <= 0:
            raise error
        with interruptible():
            if not self._reconnecting.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                raise TimeoutError(f"{error}, and it was not back in time")  # another thread is reconnecting
            try:
                self._reconnect(lost, error, absence, until)
            finally:
                self._reconnecting.release()

    def _reconnect(self, lost: Cell, error: ServerAwayError, absence: _Absence, until: float | None) -> None:
        if self._cell is not lost or self._is_closed.is_set():  # another thread has reconnected
            return self._check_not_closed(error)
        if not absence.is_reported:
            absence.is_reported = True
            self.notify(f"{error}; waiting for it for up to {self.patience_s:g} s")
        if isinstance(error.__cause__, RemoteError):  # it is connected, but cannot answer now
            return self._back_off(absence, until)
        self._release_streams()
        self._downloader.close()
        lost.close()
        self._use(self._connect_again(absence, until))
        self.notify(f"the server of the project {self.kit.info.project} is back")

    def _check_not_closed(self, error: AdminError) -> None:
        if self._is_closed.is_set():
            raise error

    def _back_off(self, absence: _Absence, until: float | None) -> None:
        """Wait before the next attempt, twice as long each time.

        Raises:
            AdminError: the server has been unavailable for ``patience_s``, or this connection was closed.
            TimeoutError: the monotonic clock reads ``until``.
        """
        now, limit = time.monotonic(), absence.began + self.patience_s
        if until is not None and now >= until:
            raise TimeoutError(f"{absence.error}, and it was not back in time")
        if now >= limit:
            raise AdminError(
                f"{absence.error}, and it was not back within {self.patience_s:g} s; its jobs continue when it is"
                " restarted, so ask again then"
            )
        if self._is_closed.wait(min(absence.backoff_s, (limit if until is None else min(limit, until)) - now)):
            raise absence.error
        absence.backoff_s = min(2 * absence.backoff_s, MAX_BACKOFF_S)

    def _connect_again(self, absence: _Absence, until: float | None) -> Cell:
        while True:
            self._back_off(absence, until)
            try:
                return _connected(self.kit, MAX_BACKOFF_S)
            except AuthenticationError as error:
                # A proxy cuts connections during the handshake, too, while the server behind it is down.
                is_early = time.monotonic() < absence.began + HANDSHAKES_PART * self.patience_s
                if not isinstance(error, HandshakeError) or not is_early:
                    raise AdminError(f"{error}; the server no longer accepts {self.kit.info.name}") from error
            except TransportError as error:
                logger.info("the server is not back yet reason=%s", error)


def _connected(kit: Kit, timeout_s: float) -> Cell:
    # A short grace time, so that a lost server is reported soon; requests that wait for it reconnect by themselves.
    cell = Cell(f"{kit.info.name}.{secrets.token_hex(4)}", reconnect_grace_s=LINK_GRACE_S)
    try:
        cell.connect(
            kit.info.address, credentials=kit.credentials, peer=kit.info.listener, uplink=True, timeout_s=timeout_s
        )
    except BaseException:
        cell.close()
        raise
    return cell
