"""The Python admin API: what the command line does, for programs.

with Admin.connect("flare-project/admin") as admin:
    job = admin.submit("jobs/hello-pt")
    print(admin.wait(job["id"])["state"])
"""

from __future__ import annotations

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
from flare_deploy.archive import pack_folder, sha256_of
from flare_deploy.provision.kit import Kit
from flare_runtime.interrupts import attentive
from flare_tensor_downloader import Downloader, add_file, download_file
from flare_transport import AuthenticationError, Cell, HandshakeError, RemoteError, TransportError

__all__ = ["Admin", "AdminError", "ServerAwayError"]

logger = logging.getLogger(__name__)

JobInfo = dict[str, Any]
AnswerT = TypeVar("AnswerT")


FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 5.0  # between attempts to reach a server that is away
SETTLED_S = 60.0  # a server that has kept a question for so long was there meanwhile
LINK_GRACE_S = 10.0
HANDSHAKES_PART = 0.1  # of the patience, after which handshakes that fail are believed to mean another server
_AWAY = ("StoppingError", "DatabaseError")  # kinds of answers of a server that will be able to answer later


class AdminError(FlareError):
    """The server refused, or cannot be reached."""


class ServerAwayError(AdminError):
    """The server is away, or about to be, and may come back."""


@dataclass(slots=True)
class _Absence:
    """A server's absence, for one who waits: why, since when, and how long to pause before the next attempt."""

    error: ServerAwayError
    began: float
    pause_s: float = FIRST_PAUSE_S
    is_told: bool = False


class Admin:
    """A connection of an administrator to the server; closed at the end of a ``with`` block.

    Every method raises :class:`AdminError` if the server refuses or cannot be reached, and says why. Those that can
    take as long as a job does, :meth:`wait`, :meth:`changes`, :meth:`read` with ``follow`` and :meth:`download`, go on
    when the server was away meanwhile.

    Args:
        cell: connected to the server; the connection closes it.
        kit: the administrator's.
    Attributes:
        patience_s: for how many seconds they wait for the server to come back.
        tell: told, by the thread that waits, that it waits for the server, and that the server is back.
    """

    def __init__(self, cell: Cell, kit: Kit) -> None:
        self._cell = cell
        self._downloader = Downloader(cell)
        self._reconnecting = threading.Lock()
        self._is_closed = threading.Event()
        self.kit = kit
        self.patience_s = 600.0
        self.tell: Callable[[str], Any] = logger.warning

    @classmethod
    def connect(cls, kit: str | Path | Kit, *, timeout_s: float = 10.0) -> Admin:
        """Connect with an administrator's start-up kit.

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
        """End the connection."""
        self._is_closed.set()
        self._downloader.close()
        self._cell.close()

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def submit(self, job: Job | str | Path, *, study: str = "default", priority: int = 0) -> JobInfo:
        """Submit a job, or a folder that holds one.

        Args:
            job: the job, or the path of its folder.
            study: who takes part in it runs the job and sees it.
            priority: jobs with a higher one start first.
        Raises:
            AdminError: there is no job in the folder, or the server does not take it; says why.
        """
        with tempfile.TemporaryDirectory(prefix="flare-submit-") as scratch:
            folder = export_job(job, Path(scratch)) if isinstance(job, Job) else Path(job)
            if not (folder / "meta.json").is_file():
                raise AdminError(
                    f"{folder} holds no job: there is no meta.json; give a folder that 'export' has written"
                )
            archive = pack_folder(folder, Path(scratch) / "job.zip")
            reference = add_file(self._downloader, archive, [self.kit.info.server])
            submitted: JobInfo = self._ask(
                "submit", reference, sha256_of(archive), {"study": study, "priority": priority}
            )
            return submitted

    def jobs(self, study: str | None = None) -> list[JobInfo]:
        """All jobs, oldest first."""
        found: list[JobInfo] = self._ask("jobs", study)
        return found

    def job(self, id_: str) -> JobInfo:
        """One job; while it runs, with what it waits for."""
        found: JobInfo = self._ask("job", id_)
        return found

    def wait(self, id_: str, timeout_s: float | None = None) -> JobInfo:
        """Wait until a job has ended.

        Raises:
            TimeoutError: it goes on after ``timeout_s`` seconds.
        """
        for job in self.changes(id_, timeout_s):
            found = job
        return found

    def changes(self, id_: str, timeout_s: float | None = None) -> Iterator[JobInfo]:
        """Yield a job now, and whenever its state or the reason for it changes, until it has ended.

        Raises:
            TimeoutError: it goes on after ``timeout_s`` seconds, counted from the first.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        job = self._ask_until(until, "job", id_)
        yield job
        while not RunStatus(job["state"]).has_ended:
            job = self._ask_until(until, "wait", id_, job["state"], job["reason"])
            yield job

    def abort(self, id_: str) -> None:
        """End a job."""
        self._ask("abort", id_)

    def delete(self, id_: str) -> None:
        """Remove a job that has ended, and its results at the server."""
        self._ask("delete", id_)

    def clone(self, id_: str) -> JobInfo:
        """Submit the same job once more."""
        found: JobInfo = self._ask("clone", id_)
        return found

    def download(self, id_: str, to: str | Path) -> Path:
        """Fetch the folder of a run that has ended into ``to``, which is made.

        Raises:
            AdminError: a file cannot be fetched, or has a place outside of ``to``.
        """
        return self._persistently(lambda: self._download(id_, Path(to)))

    def _download(self, id_: str, target: Path) -> Path:
        for name, reference in self._ask("files", id_):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise AdminError(f"the server sent a file called {name!r}, which leads out of {target}")
            place.parent.mkdir(parents=True, exist_ok=True)
            problem, _ = download_file(self.kit.info.server, reference, None, self._cell, place.parent)
            if problem is not None:
                is_gone = self.kit.info.listener not in self._cell.peers
                raise ServerAwayError(problem) if is_gone else AdminError(problem)
        return target

    def logs(self, id_: str, site: str | None = None, *, follow: bool = False) -> Iterator[str]:
        """Yield the text of a log of the job ``id_``: the server's, or a ``site``'s.

        With ``follow``, what comes until the job has ended, too.
        """
        return self.read(id_, f"sites/{site}/log.txt" if site else "log.txt", follow=follow)

    def read(self, id_: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the text of the file ``name`` of the run's folder, piece by piece; the rest as for :meth:`logs`."""
        offset, is_over = 0, False
        rest = b""
        while not is_over:
            question = ("read", id_, name, offset, follow)
            piece, is_over = self._ask_until(None, *question) if follow else self._ask(*question)
            offset += len(piece)
            text, rest = _whole_lines(rest + bytes(piece), is_over or not follow)
            if text:
                yield text
            if not piece and not follow:
                return

    def status(self) -> dict[str, Any]:
        """The server, its sites, and every job that has not ended with what it waits for."""
        found: dict[str, Any] = self._ask("status")
        return found

    def members(self) -> list[dict[str, Any]]:
        """Everybody who belongs to the project, was invited or removed."""
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
        """Return a token with which somebody can join, once.

        Args:
            name: what the site, the relay or the administrator is to be called. Who is called ``hospital.ward`` reaches
                the server through the relay ``hospital``.
            kind: ``client`` for a site, ``relay``, ``admin``, or a kind that a package at the server adds.
            role: what an administrator may do; see :mod:`flare_deploy.server.rights`.
            org: the organization it belongs to.
            studies: in which studies it takes part: names with commas between them, or ``*`` for all.
            days: how long the token can be used.
            address: of a relay, or another kind that forwards: where those below it reach it, as ``grpc://host:port``.
        """
        options = {"kind": kind, "role": role, "org": org, "studies": studies, "days": days, "address": address}
        token: str = self._ask("invite", name, options)
        return token

    def remove(self, name: str) -> None:
        """Put a site or an administrator out, at once; the others are not touched."""
        self._ask("remove", name)

    def audit(self, count: int = 100) -> list[dict[str, Any]]:
        """The last lines of the audit log: who did what, and whether it was allowed."""
        found: list[dict[str, Any]] = self._ask("audit", count)
        return found

    def _ask(self, topic: str, *payload: Any, timeout_s: float | None = None) -> Any:
        try:
            with attentive():
                message = self._cell.request(self.kit.info.server, f"admin.{topic}", list(payload), timeout_s=timeout_s)
            return message.payload
        except RemoteError as error:
            kind = ServerAwayError if error.kind in _AWAY else AdminError
            raise kind(str(error).removeprefix(f"{self.kit.info.server}: ")) from error
        except TransportError as error:
            raise ServerAwayError(f"the server of the project {self.kit.info.project} is gone: {error}") from error

    def _ask_until(self, until: float | None, topic: str, *payload: Any) -> Any:
        """Ask what the answer can take long to; while the server is away, wait for it.

        Raises:
            TimeoutError: there is no answer at that time of the monotonic clock.
        """

        def ask() -> Any:
            left = None if until is None else max(0.0, until - time.monotonic())
            return self._ask(topic, *payload, timeout_s=left)

        return self._persistently(ask, until)

    def _persistently(self, ask: Callable[[], AnswerT], until: float | None = None) -> AnswerT:
        """Ask, and while the server is away wait for it and ask again.

        Raises:
            AdminError: it does not come back in time, or not as the server of this project, or refuses.
            TimeoutError: it is not back at ``until``.
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
        """Wait until it makes sense to ask again: connect again if the connection was lost, or pause if it was not."""
        if self.patience_s <= 0:
            raise error
        with attentive():
            if not self._reconnecting.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                raise TimeoutError(f"{error}, and not back in time")  # while another thread waits for the server
            try:
                self._reconnect(lost, error, absence, until)
            finally:
                self._reconnecting.release()

    def _reconnect(self, lost: Cell, error: ServerAwayError, absence: _Absence, until: float | None) -> None:
        if self._cell is not lost or self._is_closed.is_set():  # another thread has done it
            return self._check_not_closed(error)
        if not absence.is_told:
            absence.is_told = True
            self.tell(f"{error}; waiting for it to come back, for at most {self.patience_s:g} s")
        if isinstance(error.__cause__, RemoteError):  # it has answered that it cannot yet
            return self._pause(absence, until)
        self._downloader.close()
        lost.close()
        self._cell = self._connect_again(absence, until)
        self._downloader = Downloader(self._cell)
        self.tell(f"the server of the project {self.kit.info.project} is back")

    def _check_not_closed(self, error: AdminError) -> None:
        if self._is_closed.is_set():
            raise error

    def _pause(self, absence: _Absence, until: float | None) -> None:
        """Pause before the next attempt, ever longer.

        Raises:
            AdminError: the server has been away for too long, or the connection was closed here.
            TimeoutError: it is past ``until``.
        """
        now, limit = time.monotonic(), absence.began + self.patience_s
        if until is not None and now >= until:
            raise TimeoutError(f"{absence.error}, and not back in time")
        if now >= limit:
            raise AdminError(
                f"{absence.error}, and has not come back within {self.patience_s:g} s; its jobs go on when it is"
                " started again, so ask once more then"
            )
        if self._is_closed.wait(min(absence.pause_s, (limit if until is None else min(limit, until)) - now)):
            raise absence.error
        absence.pause_s = min(2 * absence.pause_s, LAST_PAUSE_S)

    def _connect_again(self, absence: _Absence, until: float | None) -> Cell:
        while True:
            self._pause(absence, until)
            try:
                return _connected(self.kit, LAST_PAUSE_S)
            except AuthenticationError as error:
                # A proxy before a server that is away cuts connections, too.
                is_early = time.monotonic() < absence.began + HANDSHAKES_PART * self.patience_s
                if not isinstance(error, HandshakeError) or not is_early:
                    raise AdminError(f"{error}; the server does not answer {self.kit.info.name} any more") from error
            except TransportError as error:
                logger.info("the server is not back yet reason=%s", error)


def _connected(kit: Kit, timeout_s: float) -> Cell:
    # Soon lost: those who wait are to know that the server is away, and connect again by themselves.
    cell = Cell(f"{kit.info.name}.{secrets.token_hex(4)}", reconnect_grace_s=LINK_GRACE_S)
    try:
        cell.connect(
            kit.info.address, credentials=kit.credentials, peer=kit.info.listener, uplink=True, timeout_s=timeout_s
        )
    except BaseException:
        cell.close()
        raise
    return cell


def _whole_lines(content: bytes, is_last: bool) -> tuple[str, bytes]:
    """Split off what does not end with a line, as a character could be cut through there."""
    end = len(content) if is_last else content.rfind(b"\n") + 1
    return content[:end].decode("utf-8", "replace"), content[end:]
