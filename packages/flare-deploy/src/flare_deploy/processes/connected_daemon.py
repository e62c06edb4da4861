"""ConnectedDaemon: what the daemons of sites and relays have in common, which is their connection to the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.processes.lock_file import LockFile
from flare_deploy.provision.kit import Kit
from flare_transport import AuthenticationError, Cell, TransportError, UnreachableError
from flare_transport.errors import HandshakeError, NameTakenError

logger = logging.getLogger(__name__)

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0
DEAD_LINK_S = 45.0  # after which a server has noticed that this participant's former connection is dead
MAX_HANDSHAKES = 3  # failures in a row that mean that the certificates do not match


class ConnectedDaemon:
    """A daemon that connects to the server, directly or through a relay, and again whenever the connection is lost.

    Args:
        folder: its kit.
        kind: the kind of participant that the kit must be for.
    Raises:
        KitError: the kit cannot be used.
        InUseError: another process uses this kit.
    Attributes:
        cell: connects to the server; made by the subclass, which registers :meth:`_peer_lost`.
    """

    cell: Cell

    def __init__(self, folder: Path, kind: str) -> None:
        self.kit = Kit.load(folder, kind=kind)
        self.name = self.kit.info.name
        self._lock_file = LockFile(self.kit.folder / "lock", f"the {kind} of {self.kit.folder}")
        self._changed = threading.Condition()
        self._is_connected = self._was_connected = self._is_stopped = False

    def run(self, connected: Callable[[], None] = lambda: None, waiting: Callable[[str], Any] = logger.debug) -> None:
        """Connect, and again whenever the connection is lost, until :meth:`stop` is called.

        Args:
            connected: called whenever a connection is made.
            waiting: called with the reason whenever an attempt fails.
        Raises:
            AuthenticationError: the server refuses this participant; says why.
        """
        while self._connect(waiting):
            connected()
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped or not self._is_connected)
            if not self._is_stopped:
                logger.warning("connection to the server lost; connecting again")
                self._disconnected()

    def stop(self) -> None:
        """Make :meth:`run` return."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close all connections and release the kit."""
        self.cell.close()
        self._lock_file.release()

    def _greet(self) -> None:
        """Introduce this participant to the server over a new connection."""

    def _disconnected(self) -> None:
        """React to the loss of the connection, before the next attempt."""

    def _connect(self, waiting: Callable[[str], Any]) -> bool:
        """Connect to the server or the relay above, with backoff between attempts; return False if stopped meanwhile.

        Raises:
            AuthenticationError: no attempt would succeed; says why.
        """
        info = self.kit.info
        backoff_s, waited_s, handshakes = MIN_BACKOFF_S, 0.0, 0
        while not self._is_stopped:
            self._is_connected = True  # before the attempt, since the link may be lost at once
            try:
                self.cell.connect(info.address, credentials=self.kit.credentials, peer=info.listener, uplink=True)
                self._greet()
                logger.info("connected address=%s", info.address)
                self._was_connected = True
                return True
            except TransportError as error:
                handshakes += isinstance(error, HandshakeError)
                self._check_not_final(error, handshakes, waited_s)
                waiting(str(error))
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, backoff_s)
            waited_s += backoff_s
            backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
        return False

    def _check_not_final(self, error: TransportError, handshakes: int, waited_s: float) -> None:
        """Raise the error of a failed attempt if no other attempt would succeed."""
        if isinstance(error, HandshakeError):  # also if the server is just being stopped
            # Who has connected with this certificate before knows that a failing handshake is a matter of time.
            if not self._was_connected and handshakes == MAX_HANDSHAKES:
                raise error
            logger.warning("the connection was cut during the handshake reason=%s", error)
        elif isinstance(error, AuthenticationError):
            raise error
        elif isinstance(error, UnreachableError):
            if isinstance(error, NameTakenError) and waited_s > DEAD_LINK_S:
                raise AuthenticationError(
                    f"{self.name} is connected already, from another machine or folder; only one process at a time may"
                    " use a kit, so stop the other, or invite this machine under a name of its own"
                ) from error
            logger.info("cannot connect yet reason=%s", error)
        else:
            logger.warning("refused for now reason=%s", error)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        if peer == self.kit.info.listener:
            with self._changed:
                self._is_connected = False
                self._changed.notify_all()
