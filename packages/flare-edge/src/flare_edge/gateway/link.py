"""Join links, and the file that tells ``flare edge invite`` where a site's gateway is."""

from __future__ import annotations

import json
from pathlib import Path

from flare_edge.errors import EdgeError

ADDRESS_FILE = "edge-gateway.json"


def join_link(url: str, invitation: str, sha256: str) -> str:
    """Return the link by which a device joins; browsers send what follows ``#`` to nobody.

    Args:
        url: of the gateway, without a slash at the end.
        invitation: its token.
        sha256: of the gateway's certificate; empty if authorities vouch for it.
    """
    return f"{url}/#{invitation}" + (f".{sha256}" if sha256 else "")


def write_address(folder: Path, url: str, sha256: str) -> None:
    """Write down where a gateway serves devices."""
    (folder / ADDRESS_FILE).write_text(json.dumps({"url": url, "sha256": sha256}))


def read_address(folder: Path) -> tuple[str | None, str]:
    """Return the URL of the site's last gateway, None if there was none, and its certificate's digest.

    Raises:
        EdgeError: the file is damaged.
    """
    path = folder / ADDRESS_FILE
    try:
        values = json.loads(path.read_text())
        return str(values["url"]), str(values["sha256"])
    except FileNotFoundError:
        return None, ""
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeError(f"{path} is damaged ({error}); delete it, and start the gateway again") from error
