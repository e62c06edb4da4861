"""Settings of the server."""

from __future__ import annotations

from flare_deploy.processes.settings import read_settings
from flare_deploy.provision.kit import Kit

__all__ = ["ServerSettings"]


class ServerSettings:
    """The settings in ``local/server.json`` of the server's kit.

    Attributes:
        database: the URL of the database; SQLite in the kit's ``state`` folder by default.
        blobs: where job archives are stored: a folder, or any URL that fsspec opens.
        max_jobs: how many jobs run at the same time.
        listen: the address to listen on; the port of the kit's address on all interfaces by default.
        link_grace_s: seconds within which a broken connection may resume without loss, before its site counts as
            disconnected.
    Raises:
        FlareError: the file cannot be read, or has an unknown setting; names both.
    """

    def __init__(self, kit: Kit) -> None:
        state = kit.folder / "state"
        found = read_settings(
            kit.folder / "local" / "server.json",
            database=f"sqlite:///{state / 'flare.db'}",
            blobs=str(state / "blobs"),
            max_jobs=4,
            listen=f"grpc://0.0.0.0:{kit.info.address.rpartition(':')[2]}",
            link_grace_s=30.0,
        )
        self.database: str = found["database"]
        self.blobs: str = found["blobs"]
        self.max_jobs: int = found["max_jobs"]
        self.listen: str = found["listen"]
        self.link_grace_s: float = found["link_grace_s"]
