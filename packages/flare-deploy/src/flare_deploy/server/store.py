"""Store: the jobs, participants and audit log of a server, in SQLite or PostgreSQL.

Only the migrations beside this module create and change tables, so a database of an older version is upgraded when the
server starts. A test compares them with the tables declared here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column

from flare_core import FlareError, RunStatus

metadata = sa.MetaData()

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("who", sa.String(200), nullable=False),
    sa.Column("what", sa.String(60), nullable=False),
    sa.Column("target", sa.String(200), nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)


class StoreError(FlareError):
    """The database cannot be used, or does not have what was asked for."""


class DatabaseError(StoreError):
    """The database cannot be used now: its disk is full, another process holds a lock, or its server is unavailable."""


class _Row(MappedAsDataclass, DeclarativeBase):
    """A dataclass whose values are the columns of a table."""

    metadata = metadata


class JobRow(_Row):
    """A job, as the database records it.

    Attributes:
        state: a value of :class:`~flare_core.RunStatus`.
        reason: why the job is in that state.
        blob: the SHA-256 of the job's archive.
        needs: :class:`~flare_deploy.server.scheduler.Needs` as JSON; once the job has started, also ``cards``, the GPUs
            it uses by site.
        submitted, started, ended: seconds since the epoch.
        attempts: how often the job's process was started.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    study: Mapped[str] = mapped_column(sa.String(100), index=True)
    submitter: Mapped[str] = mapped_column(sa.String(200))
    blob: Mapped[str] = mapped_column(sa.String(64))
    state: Mapped[str] = mapped_column(sa.String(20), index=True, default=RunStatus.SUBMITTED.value)
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    priority: Mapped[int] = mapped_column(default=0)
    needs: Mapped[dict[str, Any]] = mapped_column(sa.Text, default_factory=dict)
    submitted: Mapped[float] = mapped_column(sa.Float, default=0.0)
    started: Mapped[float | None] = mapped_column(sa.Float, default=None)
    ended: Mapped[float | None] = mapped_column(sa.Float, default=None)
    attempts: Mapped[int] = mapped_column(default=0)

    @property
    def has_ended(self) -> bool:
        """Return True if the job's state is final."""
        return RunStatus(self.state).has_ended


class Participant(_Row):
    """A site, a relay or an administrator.

    Attributes:
        studies: the studies it takes part in, comma-separated; ``*`` stands for all.
        state: ``invited``, ``active`` or ``revoked``.
        fingerprint: SHA-256 of the only certificate that is accepted; empty while invited, or if any certificate of
            the authority is accepted.
        expires: when that certificate or the invitation expires, in seconds since the epoch.
        guest: the name under which an invited participant may connect, once, to have its key certified.
        address: where the sites below a relay reach it.
    """

    __tablename__ = "participants"

    name: Mapped[str] = mapped_column(sa.String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(40))
    role: Mapped[str] = mapped_column(sa.String(30), default="")
    org: Mapped[str] = mapped_column(sa.String(100), default="")
    studies: Mapped[str] = mapped_column(sa.Text, default="default")
    state: Mapped[str] = mapped_column(sa.String(10), default="active")
    fingerprint: Mapped[str] = mapped_column(sa.String(64), default="")
    expires: Mapped[float] = mapped_column(sa.Float, default=0.0)
    guest: Mapped[str] = mapped_column(sa.String(200), default="")
    changed: Mapped[float] = mapped_column(sa.Float, default=0.0)
    address: Mapped[str] = mapped_column(sa.String(300), default="", server_default="")

    @property
    def effective_kind(self) -> str:
        """``project_admin`` if that is its role, else its kind."""
        return "project_admin" if self.kind == "admin" and self.role == "project_admin" else self.kind

    def is_in(self, study: str) -> bool:
        """Return True if it takes part in a study."""
        return "*" in (names := self.studies.split(",")) or study in names


class Store:
    """The server's database.

    Args:
        url: such as ``sqlite:////var/lib/flare/flare.db`` or ``postgresql+psycopg://user:password@host/flare``.
    Raises:
        StoreError: the database cannot be opened; names it.

    Every method raises :class:`DatabaseError` while the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._shown = sa.make_url(url).render_as_string(hide_password=True) if "://" in url else url
        try:
            self._engine = sa.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
            if url.startswith("sqlite"):
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            with self._engine.begin() as connection:
                command.upgrade(migrations(connection), "head")
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise StoreError(f"the database {self._shown} cannot be used: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error  # the driver's error, without the statement and its values
            raise DatabaseError(f"the database {self._shown} cannot be used now: {str(reason).strip()}") from error

    def add_job(self, job: JobRow) -> None:
        """Add a new job."""
        values = asdict(job) | {"needs": json.dumps(job.needs)}
        with self._transaction() as connection:
            connection.execute(sa.insert(JobRow).values(values))

    def job(self, id_: str) -> JobRow:
        """Return a job.

        Raises:
            StoreError: no job has that id.
        """
        with self._transaction() as connection:
            row = connection.execute(sa.select(JobRow).where(JobRow.id == id_)).mappings().first()
        if row is None:
            raise StoreError(f"there is no job {id_!r}; see 'flare job list'")
        return _job(row)

    def jobs(
        self,
        *,
        studies: Sequence[str] | None = None,
        states: tuple[str, ...] = (),
        limit: int | None = None,
        after: JobRow | None = None,
    ) -> list[JobRow]:
        """Return jobs, oldest first.

        Args:
            studies: only of these; None stands for all.
            states: only in these; none stands for all.
            limit: how many at most.
            after: only those that come after this one.
        """
        query = sa.select(JobRow).order_by(JobRow.submitted, JobRow.id).limit(limit)
        if studies is not None:
            query = query.where(JobRow.study.in_(studies))
        if states:
            query = query.where(JobRow.state.in_(states))
        if after is not None:
            query = query.where(sa.tuple_(JobRow.submitted, JobRow.id) > sa.tuple_(after.submitted, after.id))
        with self._transaction() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def has_blob(self, digest: str) -> bool:
        """Return True if a job has this content."""
        with self._transaction() as connection:
            return connection.execute(sa.select(JobRow.id).where(JobRow.blob == digest).limit(1)).first() is not None

    def update_job(self, id_: str, **changes: Any) -> None:
        """Change some values of a job; do nothing if it was deleted."""
        with self._transaction() as connection:
            connection.execute(sa.update(JobRow).where(JobRow.id == id_).values(changes))

    def delete_job(self, id_: str) -> None:
        """Delete a job."""
        with self._transaction() as connection:
            connection.execute(sa.delete(JobRow).where(JobRow.id == id_))

    def participants(self) -> list[Participant]:
        """Return all participants, sorted by name."""
        with self._transaction() as connection:
            query = sa.select(Participant).order_by(Participant.name)
            return [Participant(**row) for row in connection.execute(query).mappings()]

    def put_participant(self, participant: Participant) -> None:
        """Add a participant, or replace the one of that name."""
        participant.changed = time.time()
        with self._transaction() as connection:
            connection.execute(sa.delete(Participant).where(Participant.name == participant.name))
            connection.execute(sa.insert(Participant).values(asdict(participant)))

    def record(self, who: str, what: str, target: str, outcome: str = "ok") -> None:
        """Add an entry to the audit log."""
        values = {"time": time.time(), "who": who, "what": what, "target": target, "outcome": outcome}
        with self._transaction() as connection:
            connection.execute(audit.insert().values(values))

    def audit(self, last: int = 100) -> list[dict[str, Any]]:
        """Return the last entries of the audit log, oldest first."""
        query = audit.select().order_by(audit.c.id.desc()).limit(last)
        with self._transaction() as connection:
            rows = list(connection.execute(query).mappings())
        return [{str(key): value for key, value in row.items()} for row in reversed(rows)]


def _job(row: sa.RowMapping) -> JobRow:
    return JobRow(**{**row, "needs": json.loads(row["needs"])})


def _prepare_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
    cursor.execute("PRAGMA synchronous=NORMAL")  # with a WAL, a power cut loses the last writes but corrupts nothing
    cursor.execute("PRAGMA busy_timeout=10000")  # ms
    cursor.close()


def migrations(connection: sa.Connection) -> Config:
    """Return the configuration with which Alembic migrates a database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
