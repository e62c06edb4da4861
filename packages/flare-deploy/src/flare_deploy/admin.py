"""The Python API for administrators, with the functions of the command line.

with Admin.connect("flare-project/admin") as admin:
    job = admin.submit("jobs/hello-pt")
    print(admin.wait(job["id"])["state"])
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from flare_core import Job, RunStatus
from flare_core.events import Event, RunEnded
from flare_core.job_folder import export_job
from flare_deploy.archive import pack_folder, sha256_of
from flare_deploy.following import FollowedFile
from flare_deploy.provision.kit import Kit
from flare_deploy.server_connection import AdminError, ServerAwayError, ServerConnection
from flare_runtime.run.event_log import EVENTS, read_event
from flare_tensor_downloader import add_file, download_file
from flare_transport import TransportError

JobInfo = dict[str, Any]


class Admin:
    """A connection of an administrator to the server; closed at the end of a ``with`` block.

    Every method raises :class:`AdminError` with the reason if the server refuses or cannot be reached. Methods that
    may take as long as a job, :meth:`wait`, :meth:`changes`, :meth:`follow`, :meth:`read` with ``follow`` and
    :meth:`download`, wait for a server that becomes unavailable, and continue when it is back.

    Attributes:
        connection: to the server; ``connection.patience_s`` is how many seconds these methods wait for the server to
            come back, and ``connection.notify`` is called with a message when it becomes unavailable and when it is
            back.
        kit: the administrator's.
    """

    __slots__ = ("_ask", "connection", "kit")  # a setting by any other name is an error, not without effect

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.kit = connection.kit
        self._ask = connection.ask

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
            return cls(ServerConnection(kit, timeout_s))
        except TransportError as error:
            raise AdminError(
                f"{error}; is the server of the project {kit.info.project} running? 'flare up' starts it, in the folder"
                " where it was run first"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

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
            reference = add_file(self.connection.downloader, archive, [self.kit.info.server])
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
        job = self.connection.ask_until(until, "job", id_)
        yield job
        while not RunStatus(job["state"]).has_ended:
            job = self.connection.ask_until(until, "wait", id_, job["state"], job["reason"])
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
        return self.connection.persistently(lambda: self._download("files", id_, Path(to)))

    def download_job(self, id_: str, to: str | Path) -> Path:
        """Download the job itself, as it was submitted, into the folder ``to``; otherwise as :meth:`download`.

        The folder is not created if the job ended before the server had prepared it.
        """
        return self.connection.persistently(lambda: self._download("job_files", id_, Path(to)))

    def _download(self, request: str, id_: str, target: Path) -> Path:
        for name, reference in self._ask(request, id_):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise AdminError(f"the server has sent a file named {name!r}, which leads out of {target}")
            place.parent.mkdir(parents=True, exist_ok=True)
            problem, _ = download_file(self.kit.info.server, reference, None, self.connection.cell, place.parent)
            if problem is not None:
                is_gone = self.kit.info.listener not in self.connection.cell.peers
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

        A round that begins again after a crash of the job's process has its events twice. ``RunEnded`` comes when the
        server has recorded the end of the job, so its folder can be downloaded then.
        """
        end: RunEnded | None = None
        for lines in self._follow(id_, EVENTS):
            for line in lines.splitlines():
                event = read_event(line)
                if isinstance(event, RunEnded):
                    end = event  # the job's process still has to end
                else:
                    end = None
                    yield event
        if end is None:  # its process has not come so far, or was killed
            job = self.connection.persistently(lambda: self.job(id_))
            end = RunEnded(job["state"], job["reason"])
        yield end

    def _follow(self, id_: str, name: str) -> Iterator[bytes]:
        """Yield whole lines of a file of a run until the job has ended."""
        file = FollowedFile(name, lambda position: self.connection.open_stream(id_, name, position))
        try:
            while (lines := self.connection.persistently(file.next)) is not None:
                yield lines
        finally:
            file.close()

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
