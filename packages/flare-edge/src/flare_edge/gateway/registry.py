"""Invitations and devices of a site: an SQLite file, which gateways and ``flare edge`` commands share.

It holds SHA-256 digests of tokens, not the tokens, which are 256 random bits each.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flare_edge.errors import EdgeError
from flare_edge.gateway.results import Refused

_FIND = """
SELECT id FROM invitations WHERE digest = ? AND revoked IS NULL AND (expires IS NULL OR expires > ?)
    AND (uses_left IS NULL OR uses_left > 0)
"""
NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_TABLES = """
CREATE TABLE IF NOT EXISTS invitations (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, note TEXT NOT NULL, created REAL NOT NULL,
    expires REAL, uses_left INTEGER, revoked REAL);
CREATE TABLE IF NOT EXISTS devices (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, invitation TEXT NOT NULL, created REAL NOT NULL, revoked REAL,
    request TEXT UNIQUE);
"""


@dataclass(frozen=True)
class Invitation:
    """An invitation, without its token; times are in seconds since 1970.

    Args:
        id: shown to people.
        note: of its maker.
        created: when it was made.
        expires: None if it does not.
        uses_left: how many devices can still register with it; None: any number.
        revoked: when it was revoked; None if it was not.
    """

    id: str
    note: str
    created: float
    expires: float | None
    uses_left: int | None
    revoked: float | None


@dataclass(frozen=True)
class RegisteredDevice:
    """A registered device, without its token; times are in seconds since 1970.

    Args:
        id: without the gateway's name.
        invitation: the id of that with which it registered.
        created: when that was.
        revoked: when it was revoked, or left; None if it was not.
    """

    id: str
    invitation: str
    created: float
    revoked: float | None


class Registry:
    """The file; to be used by one thread at a time.

    Args:
        path: is made if it does not exist.
        max_devices: more are not registered.
    """

    def __init__(self, path: Path, *, max_devices: int = 1_000_000) -> None:
        self._path = path
        self._max_devices = max_devices
        self._known: dict[str, str] = {}  # devices that are not revoked, by digest of their tokens
        self._names: set[str] = set()  # and their ids
        self._version = -1
        with self._mapped():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_TABLES)
        self.refresh()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def invite(self, *, note: str = "", uses: int | None = 1, valid_s: float | None = None) -> str:
        """Make an invitation and return its token.

        Args:
            note: for people.
            uses: how many devices can register with it; None: any number.
            valid_s: None: until it is revoked.
        """
        token = secrets.token_urlsafe(32)
        now = time.time()
        values = (secrets.token_hex(4), digest(token), note, now, None if valid_s is None else now + valid_s, uses)
        with self._mapped():
            self._database.execute("INSERT INTO invitations VALUES (?, ?, ?, ?, ?, ?, NULL)", values)
        return token

    def revoke_noted(self, note: str) -> None:
        """Revoke the invitations with a note."""
        with self._mapped():
            self._database.execute(
                "UPDATE invitations SET revoked = ? WHERE note = ? AND revoked IS NULL", (time.time(), note)
            )

    def register(self, invitation: str, name: str | None = None, request: str | None = None) -> tuple[str, str]:
        """Register a device; return its id and its token.

        Args:
            invitation: a token.
            name: the id that the device wants; None: a random one.
            request: a secret of the device's own; if the same request comes again, since its answer was lost, the
                device gets another token, and the invitation is not used again.
        Raises:
            Refused: the invitation is not valid, or the id is taken or not a name.
        """
        if name is not None and not NAME.fullmatch(name):
            raise Refused(422, "name", "a device's name must be 1 to 32 letters, digits, - or _")
        token, now = secrets.token_urlsafe(32), time.time()
        secret = None if request is None else digest(f"{invitation} {request}")
        with self._mapped(), self._transaction():
            known = self._database.execute(
                "SELECT id, digest FROM devices WHERE request = ? AND revoked IS NULL", (secret,)
            ).fetchone()
            if known is not None:
                device, former = known
                self._database.execute("UPDATE devices SET digest = ? WHERE id = ?", (digest(token), device))
                self._known.pop(former, None)
            else:
                device = name or secrets.token_hex(8)
                self._insert(invitation, (device, digest(token)), secret, now)
        self._known[digest(token)] = device
        self._names.add(device)
        return device, token

    def _insert(self, invitation: str, device: tuple[str, str], secret: str | None, now: float) -> None:
        """Register a device that is not known yet; the caller has a transaction."""
        found = self._database.execute(_FIND, (digest(invitation), now)).fetchone()
        if found is None:
            raise Refused(403, "invitation", "the invitation is unknown, used up, expired or revoked; ask for another")
        if len(self._known) >= self._max_devices:
            raise Refused(503, "full", "no more devices can register at this gateway")
        try:
            self._database.execute("INSERT INTO devices VALUES (?, ?, ?, ?, NULL, ?)", (*device, found[0], now, secret))
        except sqlite3.IntegrityError as error:
            raise Refused(
                409, "name_taken", f"a device was registered as {device[0]} before; join with another name"
            ) from error
        self._database.execute("UPDATE invitations SET uses_left = uses_left - 1 WHERE id = ?", found)

    def device(self, token: str) -> str | None:
        """Return the id of the device with this token, None if it is unknown or revoked."""
        return self._known.get(digest(token))

    def has(self, device: str) -> bool:
        """Return whether a device with this id is registered and not revoked."""
        return device in self._names

    def refresh(self) -> set[str]:
        """See what other processes changed; return the devices that were revoked since the last time."""
        with self._mapped():
            (version,) = self._database.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return set()
            self._version = version
            known = dict(self._database.execute("SELECT digest, id FROM devices WHERE revoked IS NULL"))
        names = set(known.values())
        revoked = self._names - names
        self._known, self._names = known, names
        return revoked

    def revoke(self, name: str) -> str:
        """Revoke a device or an invitation by id; an invitation's devices stay. Return which of both it was.

        Raises:
            EdgeError: neither is known.
        """
        with self._mapped():
            for table in ("devices", "invitations"):
                changed = self._database.execute(
                    f"UPDATE {table} SET revoked = ? WHERE id = ? AND revoked IS NULL",
                    (time.time(), name),
                )
                if changed.rowcount:
                    self._known = {digest: device for digest, device in self._known.items() if device != name}
                    self._names.discard(name)
                    return "device" if table == "devices" else "invitation"
        raise EdgeError(
            f"{self._path} has no device or invitation {name!r} that could be revoked; see 'flare edge devices'"
        )

    def invitations(self) -> Sequence[Invitation]:
        """Return all invitations, oldest first."""
        columns = "id, note, created, expires, uses_left, revoked"
        with self._mapped():
            rows = self._database.execute(f"SELECT {columns} FROM invitations ORDER BY created").fetchall()
        return [Invitation(*row) for row in rows]

    def devices(self) -> Sequence[RegisteredDevice]:
        """Return all devices, oldest first."""
        with self._mapped():
            rows = self._database.execute(
                "SELECT id, invitation, created, revoked FROM devices ORDER BY created"
            ).fetchall()
        return [RegisteredDevice(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise EdgeError(f"the devices' registry {self._path} cannot be used: {error}") from error


def digest(token: str) -> str:
    """Return what the registry keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
