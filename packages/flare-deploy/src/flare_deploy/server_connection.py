"""An administrator's connection to the server, which waits for a server that becomes unavailable."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flare_core import FlareError
from flare_deploy.following import Incoming
from flare_deploy.provision.kit import Kit
from flare_runtime.interrupts import interruptible
from flare_tensor_downloader import Downloader
from flare_transport import AuthenticationError, Cell, RemoteError, StreamReader, TransportError
from flare_transport.errors import HandshakeError

logger = logging.getLogger(__name__)

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


class ServerConnection:
    """A connection to the server that is made anew when it was lost.

    Args:
        kit: the administrator's.
        timeout_s: how long to wait for the server to answer.
    Raises:
        TransportError: the server cannot be reached, or refuses.
    Attributes:
        cell: the connected cell; another one after the connection was lost.
        downloader: offers files to the server.
        patience_s: how many seconds :meth:`persistently` waits for the server to come back.
        notify: called on the waiting thread with a message when the server becomes unavailable, and when it is back.
    """

    def __init__(self, kit: Kit, timeout_s: float) -> None:
        self.kit = kit
        self.patience_s = 600.0
        self.notify: Callable[[str], Any] = logger.warning
        self._incoming: dict[int, Incoming] = {}
        self._lent: set[Incoming] = set()  # streams that are being read
        self._numbers = itertools.count(1)
        self._reconnecting = threading.Lock()
        self._is_closed = threading.Event()
        self._use(_connected(kit, timeout_s))

    def _use(self, cell: Cell) -> None:
        self.cell = cell
        self.downloader = Downloader(cell)
        cell.handle_stream("follow", self._on_stream)

    def close(self) -> None:
        """Close the connection; whoever waits for the server stops waiting."""
        self._is_closed.set()
        self._release_streams()
        self.downloader.close()
        self.cell.close()

    def ask(self, topic: str, *payload: Any, timeout_s: float | None = None) -> Any:
        try:
            with interruptible():
                message = self.cell.request(self.kit.info.server, f"admin.{topic}", list(payload), timeout_s=timeout_s)
            return message.payload
        except RemoteError as error:
            kind = ServerAwayError if error.kind in _RETRYABLE else AdminError
            raise kind(str(error).removeprefix(f"{self.kit.info.server}: ")) from error
        except TransportError as error:
            raise ServerAwayError(
                f"the server of the project {self.kit.info.project} is unavailable: {error}"
            ) from error

    def ask_until(self, until: float | None, topic: str, *payload: Any) -> Any:
        """Make a request whose answer may take long; wait for a server that is unavailable.

        Raises:
            TimeoutError: there is no answer when the monotonic clock reads ``until``.
        """

        def ask() -> Any:
            left = None if until is None else max(0.0, until - time.monotonic())
            return self.ask(topic, *payload, timeout_s=left)

        return self.persistently(ask, until)

    def persistently(self, ask: Callable[[], AnswerT], until: float | None = None) -> AnswerT:
        """Make a request, and again whenever the server was unavailable and is back.

        Raises:
            AdminError: the server refuses, does not come back in time, or is another project's.
            TimeoutError: the server is not back when the monotonic clock reads ``until``.
        """
        absence: _Absence | None = None
        while True:
            cell, began = self.cell, time.monotonic()
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
        if self._is_closed.is_set():
            raise error
        if self.cell is not lost:  # another thread has reconnected
            return
        if not absence.is_reported:
            absence.is_reported = True
            self.notify(f"{error}; waiting for it for up to {self.patience_s:g} s")
        if isinstance(error.__cause__, RemoteError):  # it is connected, but cannot answer now
            return self._back_off(absence, until)
        self._release_streams()
        self.downloader.close()
        lost.close()
        self._use(self._connect_again(absence, until))
        self.notify(f"the server of the project {self.kit.info.project} is back")

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

    def open_stream(self, id_: str, name: str, position: int) -> tuple[Incoming, StreamReader]:
        number = next(self._numbers)
        incoming = self._incoming[number] = Incoming()
        try:
            self.ask("follow", id_, name, position, number)
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
