"""The ledger of a site: what was answered and what was spent, in an SQLite database that outlives every run.

    about     id, secret: who it is, and the key of noise that must be the same for the same question
    queries   one row a question that was answered: counted for max_queries
    facts     what the answers about a feature were computed from, to notice data that changed by a few records
    binnings  histograms that were shown, to notice edges that were moved by a few records
    releases  one row a number (or list of numbers) with noise, with what it has spent and its value

Everything that belongs to an answer is in one transaction, which is on disk before the answer leaves. Any number of
processes can use the ledger; one that writes makes the others wait. A file beside the ledger, the mark, holds its id
and how many rows it had: a ledger that was deleted, emptied or replaced by an older copy is noticed, and refused,
because its budget would begin anew.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flare_core.files import replacing
from flare_stats.privacy.errors import LedgerError
from flare_stats.privacy.suppression import Binning

LEDGER = "privacy-ledger.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS queries (key TEXT PRIMARY KEY, time TEXT, run TEXT, source TEXT, kind TEXT);
CREATE TABLE IF NOT EXISTS facts (time TEXT, run TEXT, source TEXT, feature TEXT, facts TEXT,
    UNIQUE (run, source, feature, facts));
CREATE TABLE IF NOT EXISTS binnings (time TEXT, run TEXT, source TEXT, feature TEXT, digest TEXT, content TEXT,
    UNIQUE (source, feature, digest, content));
CREATE TABLE IF NOT EXISTS releases (key TEXT PRIMARY KEY, time TEXT, run TEXT, source TEXT, dataset TEXT,
    feature TEXT, statistic TEXT, mechanism TEXT, scale REAL, epsilon REAL, delta REAL, value TEXT);
"""
_ROWS = "SELECT (SELECT count(*) FROM queries) + (SELECT count(*) FROM releases)"


@dataclass(frozen=True, slots=True)
class Release:
    """Numbers with noise that were, or will be, released.

    Attributes:
        run: the id of the run that asked.
        source: what was read.
        dataset: its name in that run.
        feature, statistic: what the numbers are of.
        mechanism: ``laplace`` or ``gaussian``.
        scale: of the noise, in units of the values.
        epsilon, delta: spent.
        value: the numbers, integers.
    """

    run: str
    source: str
    dataset: str
    feature: str
    statistic: str
    mechanism: str
    scale: float
    epsilon: float
    delta: float
    value: Sequence[int]


class Ledger:
    """A site's ledger, which is made when it is first used.

    Args:
        path: of the database.
    Attributes:
        wait_s: how long to wait for another process that writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wait_s = 60.0
        self._mark = path.with_suffix(".mark")

    @contextmanager
    def writing(self) -> Iterator[Entries]:
        """Write to the ledger in one transaction, alone; it is on disk when the block is left.

        Raises:
            LedgerError: the ledger is missing, damaged, replaced, locked or not writable; nothing was written.
        """
        with self._explained(), closing(self._connect("rw")) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            self._check(connection)
            yield Entries(connection)
            rows = int(connection.execute(_ROWS).fetchone()[0])
            connection.commit()
            self._write_mark(connection, rows)

    @contextmanager
    def reading(self) -> Iterator[Entries | None]:
        """Read the ledger, which need not be writable; None if there is none yet.

        Raises:
            LedgerError: the ledger is missing, damaged or replaced.
        """
        if not self.path.exists() and not self._mark.exists():
            yield None
            return
        # A reader, too, takes back what a process that was killed has not finished, if it may write.
        mode = "rw" if os.access(self.path, os.W_OK) else "ro"
        with self._explained(), closing(self._connect(mode)) as connection:
            connection.execute("BEGIN")
            self._check(connection)
            yield Entries(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be used, so nothing is answered: {error}; it must be a file that this"
                " user can write, on a disk with room"
            ) from error

    def _connect(self, mode: str) -> sqlite3.Connection:
        if not self.path.exists():
            if self._mark.exists():
                raise LedgerError(
                    f"the ledger {self.path} is missing, but {self._mark} says that there was one: restore it from a"
                    " copy. To begin with a new budget, which forgets what was answered, delete the mark"
                )
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        address = f"{self.path.absolute().as_uri()}?mode={mode}"  # does not make a file that is missing
        return sqlite3.connect(address, uri=True, timeout=self.wait_s, isolation_level=None)

    def _check(self, connection: sqlite3.Connection) -> None:
        """Check that the ledger is the one that the mark knows; begin it if there is no mark."""
        mark = self._read_mark()
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            if mark is not None:
                raise self._replaced("is empty")
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            for name, value in (("id", secrets.token_hex(16)), ("secret", secrets.token_hex(32)), ("begun", _now())):
                connection.execute("INSERT INTO about VALUES (?, ?)", (name, value))
        elif mark is not None:
            if _about(connection, "id") != mark["id"]:
                raise self._replaced("is another one")
            if connection.execute(_ROWS).fetchone()[0] < mark["rows"]:
                raise self._replaced("is an older copy")

    def _replaced(self, how: str) -> LedgerError:
        return LedgerError(
            f"the ledger {self.path} {how}, as {self._mark} shows, so what was spent is not known: restore the newest"
            " copy. To go on with this one, which forgets what was answered, delete the mark"
        )

    def _read_mark(self) -> dict[str, Any] | None:
        try:
            mark = json.loads(self._mark.read_text())
            return {"id": str(mark["id"]), "rows": int(mark["rows"])}
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise LedgerError(f"{self._mark} is damaged: {error}; restore it and the ledger from a copy") from error

    def _write_mark(self, connection: sqlite3.Connection, rows: int) -> None:
        """Note the state after a commit; one that another process has noted meanwhile may be newer, and comes again."""
        text = json.dumps({"id": _about(connection, "id"), "rows": rows}) + "\n"
        if not self._mark.exists() or self._mark.read_text() != text:
            with replacing(self._mark) as partial:
                partial.write_text(text)


class Entries:
    """The entries of a ledger, within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def secret(self) -> bytes:
        """The key of noise that must be the same for the same question."""
        return bytes.fromhex(_about(self._connection, "secret"))

    @property
    def begun(self) -> str:
        """When the ledger was begun, in ISO 8601."""
        return _about(self._connection, "begun")

    def has_query(self, key: str) -> bool:
        """Return True if a question was answered before."""
        return self._connection.execute("SELECT 1 FROM queries WHERE key = ?", (key,)).fetchone() is not None

    def queries(self, source: str) -> int:
        """Return how many questions about a source were answered."""
        row = self._connection.execute("SELECT count(*) FROM queries WHERE source = ?", (source,)).fetchone()
        return int(row[0])

    def add_query(self, key: str, run: str, source: str, kind: str) -> None:
        """Note a question about a source; the same one again changes nothing."""
        row = (key, _now(), run, source, kind)
        self._connection.execute("INSERT OR IGNORE INTO queries VALUES (?, ?, ?, ?, ?)", row)

    def facts(self, source: str, feature: str) -> list[dict[str, Any]]:
        """Return the facts of each earlier answer about a feature."""
        rows = self._connection.execute(
            "SELECT DISTINCT facts FROM facts WHERE source = ? AND feature = ?", (source, feature)
        )
        return [json.loads(facts) for (facts,) in rows]

    def count_told(self, run: str, source: str, feature: str) -> int | None:
        """Return the number of values of a feature in the last answer to a run; None if it got none."""
        row = self._connection.execute(
            "SELECT facts FROM facts WHERE run = ? AND source = ? AND feature = ? ORDER BY rowid DESC LIMIT 1",
            (run, source, feature),
        ).fetchone()
        return None if row is None else int(json.loads(row[0])["count"])

    def add_facts(self, run: str, source: str, feature: str, facts: Mapping[str, Any]) -> None:
        """Note what an answer was computed from."""
        row = (_now(), run, source, feature, json.dumps(facts, sort_keys=True))
        self._connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?)", row)

    def binnings(self, source: str, feature: str) -> list[Binning]:
        """Return the histograms of a feature that were shown."""
        rows = self._connection.execute(
            "SELECT content FROM binnings WHERE source = ? AND feature = ? ORDER BY rowid", (source, feature)
        )
        return [Binning(**json.loads(content)) for (content,) in rows]

    def add_binning(self, run: str, source: str, feature: str, binning: Binning) -> None:
        """Note a histogram that is shown."""
        names = ("edges", "counts", "shown", "total")
        content = json.dumps({name: getattr(binning, name) for name in names})
        row = (_now(), run, source, feature, binning.digest, content)
        self._connection.execute("INSERT OR IGNORE INTO binnings VALUES (?, ?, ?, ?, ?, ?)", row)

    def release(self, key: str) -> Release | None:
        """Return a release; None if there is none."""
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM releases WHERE key = ?", (key,)).fetchone()
        return None if row is None else _release(row)

    def add_release(self, key: str, release: Release) -> None:
        """Note a release, which is charged with it."""
        value = json.dumps([int(each) for each in release.value])
        rest = [getattr(release, name) for name in _COLUMNS.split(", ")[:-1]]
        row = (key, _now(), *rest, value)
        self._connection.execute(f"INSERT INTO releases VALUES ({', '.join('?' * len(row))})", row)

    def spent(self) -> tuple[float, float]:
        """Return the epsilon and the delta of all releases together."""
        rows = self._connection.execute("SELECT epsilon, delta FROM releases").fetchall()
        return float(sum(row[0] for row in rows)), float(sum(row[1] for row in rows))

    def spent_by_run(self) -> list[tuple[str, str, int, float, float]]:
        """Return for each run its id, the time of its first release, their number, epsilon and delta."""
        return self._connection.execute(
            "SELECT run, min(time), count(*), sum(epsilon), sum(delta) FROM releases GROUP BY run ORDER BY min(time)"
        ).fetchall()

    def queries_by_source(self) -> list[tuple[str, int, str]]:
        """Return for each source how many questions were answered, and when the last one was."""
        return self._connection.execute(
            "SELECT source, count(*), max(time) FROM queries GROUP BY source ORDER BY source"
        ).fetchall()


_COLUMNS = "run, source, dataset, feature, statistic, mechanism, scale, epsilon, delta, value"


def _release(row: Sequence[Any]) -> Release:
    run, source, dataset, feature, statistic, mechanism, scale, epsilon, delta, value = row
    return Release(run, source, dataset, feature, statistic, mechanism, scale, epsilon, delta, json.loads(value))


def _about(connection: sqlite3.Connection, name: str) -> str:
    (value,) = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
    return str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
