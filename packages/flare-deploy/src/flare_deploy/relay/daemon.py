"""A relay's daemon: sites that cannot reach the server directly, as those behind a group's gateway, connect to it.

It forwards messages between them and the server without reading them. Messages from the server:

relay.cut   [name]   close the connections of a participant, or of a job's process
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flare_deploy.processes.connected_daemon import ConnectedDaemon
from flare_deploy.processes.settings import read_settings
from flare_transport import Cell, Message
from flare_transport.address import speaks_for

logger = logging.getLogger(__name__)


class RelayDaemon(ConnectedDaemon):
    """A relay for the sites whose names begin with its own and a dot.

    Args:
        folder: the relay's kit.
    Raises:
        KitError: the kit cannot be used.
        InUseError: another process uses this kit.
        FlareError: its settings cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "relay")
        settings = read_settings(
            self.kit.folder / "local" / "relay.json",
            listen=f"grpc://0.0.0.0:{self.kit.info.listen.rpartition(':')[2]}",
            link_grace_s=30.0,
        )
        self._listen = settings["listen"]
        self.cell = Cell(self.name, threads=16, reconnect_grace_s=settings["link_grace_s"], admits=self._refusal)
        self.cell.handle("relay.cut", self._cut)
        self.cell.on_peer_lost(self._peer_lost)

    def run(self, connected: Callable[[], None] = lambda: None, waiting: Callable[[str], Any] = logger.debug) -> None:
        """Listen, then connect to the server; see :meth:`ConnectedDaemon.run`.

        Raises:
            AddressError: the port is in use; names it.
            AuthenticationError: the server refuses this relay; says why.
        """
        address = self.cell.listen(self._listen, credentials=self.kit.credentials)
        logger.info("listening address=%s", address)
        super().run(connected, waiting)

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
