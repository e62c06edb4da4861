"""What the server's owner decides."""

from __future__ import annotations

import json

from flare_core import FlareError
from flare_runtime.provision.kit import Kit

__all__ = ["ServerSettings"]


class ServerSettings:
    """The settings in ``local/server.json`` of the server's kit.

    Attributes:
        database: its URL; SQLite in the kit's ``state`` folder if left out.
        blobs: where job archives are kept: a folder, or any URL of fsspec.
        max_jobs: how many jobs run at the same time.
        listen: the address to listen at, if it is not the port of the kit's address on all interfaces.
        link_grace_s: how long a broken connection may take to come back, with nothing lost, before its site counts as
            gone.
    Raises:
        FlareError: the file cannot be read, or holds an unknown setting; names both.
    """

    def __init__(self, kit: Kit) -> None:
        path = kit.folder / "local" / "server.json"
        try:
            values = json.loads(path.read_text()) if path.is_file() else {}
            state = kit.folder / "state"
            self.database = str(values.pop("database", f"sqlite:///{state / 'flare.db'}"))
            self.blobs = str(values.pop("blobs", state / "blobs"))
            self.max_jobs = int(values.pop("max_jobs", 4))
            port = kit.info.address.rpartition(":")[2]
            self.listen = str(values.pop("listen", f"grpc://0.0.0.0:{port}"))
            self.link_grace_s = float(values.pop("link_grace_s", 30.0))
        except (ValueError, TypeError, AttributeError) as error:
            raise FlareError(f"{path} cannot be read: {error}") from error
        if values:
            raise FlareError(f"{path}: unknown {', '.join(values)}; known are {', '.join(vars(self))}")
