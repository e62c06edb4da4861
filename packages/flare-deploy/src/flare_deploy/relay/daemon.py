"""A relay's daemon: sites that cannot reach the server directly, as those behind a group's gateway, connect to it.

It forwards messages between them and the server without reading them. Messages from the server:

relay.cut   [name]   close the connections of a participant, or of a job's process
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.processes.attempts import Attempts
from flare_deploy.processes.lock_file import LockFile
from flare_deploy.processes.settings import read_settings
from flare_deploy.provision.kit import Kit
from flare_transport import Cell, Message, TransportError
from flare_transport.address import speaks_for

__all__ = ["RelayDaemon"]

logger = logging.getLogger(__name__)


class RelayDaemon:
    """A relay for the sites whose names begin with its own and a dot.

    Args:
        folder: the relay's kit.
    Raises:
        KitError: the kit cannot be used.
        InUseError: another process uses this kit.
        FlareError: its settings cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.kit = Kit.load(folder, kind="relay")
        self.name = self.kit.info.name
        settings = read_settings(
            self.kit.folder / "local" / "relay.json",
            listen=f"grpc://0.0.0.0:{self.kit.info.listen.rpartition(':')[2]}",
            link_grace_s=30.0,
        )
        self._listen = settings["listen"]
        self._lock_file = LockFile(self.kit.folder / "lock", f"the relay of {self.kit.folder}")
        self._changed = threading.Condition()
        self._is_connected = self._was_connected = self._is_stopped = False
        self.cell = Cell(self.name, threads=16, reconnect_grace_s=settings["link_grace_s"], admits=self._refusal)
        self.cell.handle("relay.cut", self._cut)
        self.cell.on_peer_lost(self._peer_lost)

    def run(self, connected: Callable[[], None], waiting: Callable[[str], Any] = logger.debug) -> None:
        """Connect to the server, and again whenever the connection is lost, until :meth:`stop` is called.

        Args:
            connected: called whenever a connection is made.
            waiting: called with the reason whenever an attempt fails.
        Raises:
            AddressError: the port is in use; names it.
            AuthenticationError: the server refuses this relay; says why.
        """
        address = self.cell.listen(self._listen, credentials=self.kit.credentials)
        logger.info("listening address=%s", address)
        while self._connect(waiting):
            connected()
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped or not self._is_connected)
            if not self._is_stopped:
                logger.warning("connection to the server lost; connecting again")

    def stop(self) -> None:
        """Make :meth:`run` return."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close all connections and release the kit."""
        self.cell.close()
        self._lock_file.release()

    def _connect(self, waiting: Callable[[str], Any]) -> bool:
        """Connect to the server or the relay above this one; return False if stopped meanwhile."""
        attempts = Attempts(self.name, was_connected=self._was_connected)
        info = self.kit.info
        while not self._is_stopped:
            self._is_connected = True  # before the attempt, since the link may be lost at once
            try:
                self.cell.connect(info.address, credentials=self.kit.credentials, peer=info.listener, uplink=True)
                logger.info("connected address=%s", info.address)
                self._was_connected = True
                return True
            except TransportError as error:
                pause_s = attempts.failed(error)
                waiting(str(error))
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, pause_s)
        return False

    def _refusal(self, peer: str, certificate: bytes | None) -> str | None:
        """Return the reason why a cell may not connect, or None; only the server knows who was removed."""
        if peer != self.name and speaks_for(self.name, peer):
            return None
        return f"{peer} does not belong to the relay {self.name}; only names that begin with '{self.name}.' do"

    def _cut(self, message: Message) -> None:
        if message.sender != self.kit.info.server:
            return logger.warning("message refused topic=%s sender=%s", message.topic, message.sender)
        (name,) = message.payload
        for peer in self.cell.peers:
            if peer != self.kit.info.listener and speaks_for(name, peer):
                self.cell.disconnect(peer)

    def _peer_lost(self, peer: str, error: BaseException | None) -> None:
        if peer == self.kit.info.listener:
            with self._changed:
                self._is_connected = False
                self._changed.notify_all()
