"""SiteFiles: what a site keeps on disk during a run, so that it can be killed and started again at any moment.

In the folder ``psi-work`` of the site's run folder, readable by this user alone:

    secret          the scalar of this site, 32 bytes, and a random tag of 16 bytes that identifies it
    keys.bin …      the site's ids, see ids/items.py
    blocks/         blinded points for the next site: <number of the block>-<step>, 33 bytes each
    digests         of the fully blinded ids of the site whose ids come here last, 16 bytes each
    done.json       what psi.prepare replied, after the end of the run, when the others are deleted
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from flare_psi.agreement import DIGEST_BYTES
from flare_psi.group import new_secret
from flare_psi.ids.items import open_private

_SECRET_BYTES = 32


class SiteFiles:
    """The files of a site.

    Args:
        folder: the site's run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "psi-work"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._blocks = self.folder / "blocks"

    def secret(self) -> tuple[bytes, bytes]:
        """Return the site's secret scalar and its tag, which are made when they are first asked for."""
        path = self.folder / "secret"
        if not path.exists():
            self._write(path, new_secret() + secrets.token_bytes(16))
        content = path.read_bytes()
        return content[:_SECRET_BYTES], content[_SECRET_BYTES:]

    @property
    def has_secret(self) -> bool:
        """True once the secret was made, until it is deleted."""
        return (self.folder / "secret").exists()

    def put_block(self, block: int, step: int, points: bytes) -> None:
        """Keep the points of a step for the next site, and delete those of the blocks before."""
        self._blocks.mkdir(mode=0o700, exist_ok=True)
        for path in self._blocks.iterdir():
            if int(path.name.partition("-")[0]) < block:
                path.unlink()
        self._write(self._blocks / f"{block}-{step}", points)

    def block(self, block: int, step: int) -> bytes | None:
        """Return the points of a step, or None if they are not here."""
        path = self._blocks / f"{block}-{step}"
        return path.read_bytes() if path.is_file() else None

    def put_digests(self, first: int, digests: bytes) -> None:
        """Keep digests from a place on; putting them again changes nothing."""
        descriptor = os.open(self.folder / "digests", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(first * DIGEST_BYTES)
            file.write(digests)

    def digests(self) -> bytes:
        """Return all digests."""
        path = self.folder / "digests"
        return path.read_bytes() if path.exists() else b""

    @property
    def done(self) -> dict[str, Any] | None:
        """The reply to ``psi.prepare``, kept after the end of the run; None before."""
        path = self.folder / "done.json"
        if not path.is_file():
            return None
        reply: dict[str, Any] = json.loads(path.read_text())
        return reply

    def finish(self, reply: dict[str, Any]) -> None:
        """Delete the secret, the ids and all that was computed of them, and keep the reply."""
        self._write(self.folder / "done.json", json.dumps(reply).encode())
        (self.folder / "secret").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "done.json":
                path.unlink()

    def _write(self, path: Path, content: bytes) -> None:
        new = path.with_name(path.name + ".new")
        with open_private(new) as file:
            file.write(content)
        new.rename(path)
