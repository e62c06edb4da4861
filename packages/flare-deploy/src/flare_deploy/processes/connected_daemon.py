"""ConnectedDaemon: what the daemons of sites and relays have in common, which is their connection to the server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.processes.attempts import Attempts
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.provision.kit import Kit
from flare_transport import Cell, TransportError

__all__ = ["ConnectedDaemon"]

logger = logging.getLogger(__name__)


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
        """Connect to the server or the relay above; return False if stopped meanwhile."""
        attempts = Attempts(self.name, was_connected=self._was_connected)
        info = self.kit.info
        while not self._is_stopped:
            self._is_connected = True  # before the attempt, since the link may be lost at once
            try:
                self.cell.connect(info.address, credentials=self.kit.credentials, peer=info.listener, uplink=True)
                self._greet()
                logger.info("connected address=%s", info.address)
                self._was_connected = True
                return True
            except TransportError as error:
                pause_s = attempts.failed(error)
                waiting(str(error))
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, pause_s)
        return False

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        if peer == self.kit.info.listener:
            with self._changed:
                self._is_connected = False
                self._changed.notify_all()
