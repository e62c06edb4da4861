"""The Python admin API: what the command line does, for programs.

with Admin.connect("flare-project/admin") as admin:
    job = admin.submit("jobs/hello-pt")
    print(admin.wait(job["id"])["state"])
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from flare_core import FlareError, Job, RunStatus, export_job
from flare_runtime.archive import pack_folder, sha256_of
from flare_runtime.interrupts import attentive
from flare_runtime.provision.kit import Kit
from flare_tensor_downloader import Downloader, add_file, download_file
from flare_transport import Cell, RemoteError, TransportError

__all__ = ["Admin", "AdminError"]

JobInfo = dict[str, Any]


class AdminError(FlareError):
    """The server refused, or cannot be reached."""


class Admin:
    """A connection of an administrator to the server; closed at the end of a ``with`` block.

    Every method raises :class:`AdminError` if the server refuses or cannot be reached, and says why.

    Args:
        cell: connected to the server; the connection closes it.
        kit: the administrator's.
    """

    def __init__(self, cell: Cell, kit: Kit) -> None:
        self._cell = cell
        self._downloader = Downloader(cell)
        self.kit = kit

    @classmethod
    def connect(cls, kit: str | Path | Kit, *, timeout_s: float = 10.0) -> Admin:
        """Connect with an administrator's start-up kit.

        Raises:
            KitError: the kit cannot be used.
            AdminError: the server cannot be reached, or refuses.
        """
        kit = kit if isinstance(kit, Kit) else Kit.load(kit, kind="admin")
        cell = Cell(f"{kit.info.name}.{secrets.token_hex(4)}")
        try:
            cell.connect(
                kit.info.address, credentials=kit.credentials, peer=kit.info.listener, uplink=True, timeout_s=timeout_s
            )
        except TransportError as error:
            cell.close()
            raise AdminError(
                f"{error}; is the server of the project {kit.info.project} running? 'flare up' starts it, in the folder"
                " where it was run first"
            ) from error
        return cls(cell, kit)

    def close(self) -> None:
        """End the connection."""
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
        job = self.job(id_)
        yield job
        while not RunStatus(job["state"]).has_ended:
            left = None if until is None else max(0.0, until - time.monotonic())
            job = self._ask("wait", id_, job["state"], job["reason"], timeout_s=left)
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
        target = Path(to)
        for name, reference in self._ask("files", id_):
            place = target / name
            if not place.resolve().is_relative_to(target.resolve()):
                raise AdminError(f"the server sent a file called {name!r}, which leads out of {target}")
            place.parent.mkdir(parents=True, exist_ok=True)
            problem, _ = download_file(self.kit.info.server, reference, None, self._cell, place.parent)
            if problem is not None:
                raise AdminError(problem)
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
            piece, is_over = self._ask("read", id_, name, offset, follow)
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
            kind: ``client`` for a site, ``relay`` or ``admin``.
            role: what an administrator may do; see :mod:`flare_runtime.server.rights`.
            org: the organization it belongs to.
            studies: in which studies it takes part: names with commas between them, or ``*`` for all.
            days: how long the token can be used.
            address: of a relay: where those below it reach it, as ``grpc://host:port``.
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
            raise AdminError(str(error).removeprefix(f"{self.kit.info.server}: ")) from error
        except TransportError as error:
            raise AdminError(f"the server of the project {self.kit.info.project} is gone: {error}") from error


def _whole_lines(content: bytes, is_last: bool) -> tuple[str, bytes]:
    """Split off what does not end with a line, as a character could be cut through there."""
    end = len(content) if is_last else content.rfind(b"\n") + 1
    return content[:end].decode("utf-8", "replace"), content[end:]
