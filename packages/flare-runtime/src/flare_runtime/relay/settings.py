"""What a relay's owner decides."""

from __future__ import annotations

import json

from flare_core import FlareError
from flare_runtime.provision.kit import Kit

__all__ = ["RelaySettings"]


class RelaySettings:
    """The settings in ``local/relay.json`` of a relay's kit.

    Attributes:
        listen: the address to listen at, if it is not the port at which the sites reach the relay on all interfaces.
        link_grace_s: how long a broken connection may take to come back, with nothing lost, before who had it counts as
            gone.
    Raises:
        FlareError: the file cannot be read, or holds an unknown setting; names both.
    """

    def __init__(self, kit: Kit) -> None:
        path = kit.folder / "local" / "relay.json"
        port = kit.info.listen.rpartition(":")[2]
        try:
            values = json.loads(path.read_text()) if path.is_file() else {}
            self.listen = str(values.pop("listen", f"grpc://0.0.0.0:{port}"))
            self.link_grace_s = float(values.pop("link_grace_s", 30.0))
        except (ValueError, TypeError, AttributeError) as error:
            raise FlareError(f"{path} cannot be read: {error}") from error
        if values:
            raise FlareError(f"{path}: unknown {', '.join(values)}; known are {', '.join(vars(self))}")
