"""Store: the jobs, participants and audit log of a server, in SQLite or PostgreSQL.

Only the migrations beside this module create and change tables, so a database of an older version is upgraded when the
server starts. A test compares them with the tables declared here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from flare_core import FlareError, RunStatus

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("study", sa.String(100), nullable=False, index=True),
    sa.Column("submitter", sa.String(200), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("blob", sa.String(64), nullable=False),
    sa.Column("needs", sa.Text, nullable=False),
    sa.Column("submitted", sa.Float, nullable=False),
    sa.Column("started", sa.Float),
    sa.Column("ended", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False),
)

participants = sa.Table(
    "participants",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("kind", sa.String(40), nullable=False),
    sa.Column("role", sa.String(30), nullable=False),
    sa.Column("org", sa.String(100), nullable=False),
    sa.Column("studies", sa.Text, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("guest", sa.String(200), nullable=False),
    sa.Column("address", sa.String(300), nullable=False, server_default=""),
    sa.Column("changed", sa.Float, nullable=False),
)

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


@dataclass(slots=True)
class JobRow:
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

    id: str
    name: str
    study: str
    submitter: str
    blob: str
    state: str = RunStatus.SUBMITTED.value
    reason: str = ""
    priority: int = 0
    needs: dict[str, Any] = field(default_factory=dict)
    submitted: float = 0.0
    started: float | None = None
    ended: float | None = None
    attempts: int = 0

    @property
    def has_ended(self) -> bool:
        """Return True if the job's state is final."""
        return RunStatus(self.state).has_ended


@dataclass(slots=True)
class Participant:
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

    name: str
    kind: str
    role: str = ""
    org: str = ""
    studies: str = "default"
    state: str = "active"
    fingerprint: str = ""
    expires: float = 0.0
    guest: str = ""
    changed: float = 0.0
    address: str = ""

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
            connection.execute(jobs.insert().values(values))

    def job(self, id_: str) -> JobRow:
        """Return a job.

        Raises:
            StoreError: no job has that id.
        """
        with self._transaction() as connection:
            row = connection.execute(jobs.select().where(jobs.c.id == id_)).mappings().first()
        if row is None:
            raise StoreError(f"there is no job {id_!r}; see 'flare job list'")
        return _job(dict(row))

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
        query = jobs.select().order_by(jobs.c.submitted, jobs.c.id).limit(limit)
        if studies is not None:
            query = query.where(jobs.c.study.in_(studies))
        if states:
            query = query.where(jobs.c.state.in_(states))
        if after is not None:
            query = query.where(sa.tuple_(jobs.c.submitted, jobs.c.id) > sa.tuple_(after.submitted, after.id))
        with self._transaction() as connection:
            return [_job(dict(row)) for row in connection.execute(query).mappings()]

    def has_blob(self, digest: str) -> bool:
        """Return True if a job has this content."""
        with self._transaction() as connection:
            return connection.execute(sa.select(jobs.c.id).where(jobs.c.blob == digest).limit(1)).first() is not None

    def update_job(self, id_: str, **changes: Any) -> None:
        """Change some values of a job; do nothing if it was deleted."""
        with self._transaction() as connection:
            connection.execute(jobs.update().where(jobs.c.id == id_).values(changes))

    def delete_job(self, id_: str) -> None:
        """Delete a job."""
        with self._transaction() as connection:
            connection.execute(jobs.delete().where(jobs.c.id == id_))

    def participants(self) -> list[Participant]:
        """Return all participants, sorted by name."""
        with self._transaction() as connection:
            query = participants.select().order_by(participants.c.name)
            return [Participant(**row) for row in connection.execute(query).mappings()]

    def put_participant(self, participant: Participant) -> None:
        """Add a participant, or replace the one of that name."""
        participant.changed = time.time()
        with self._transaction() as connection:
            connection.execute(participants.delete().where(participants.c.name == participant.name))
            connection.execute(participants.insert().values(asdict(participant)))

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


def _job(row: Mapping[str, Any]) -> JobRow:
    values = {each.name: row[each.name] for each in fields(JobRow)}
    return JobRow(**values | {"needs": json.loads(row["needs"])})


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
