"""Lock files: one process at a time, and the next one is told which."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flare_core import FlareError

if sys.platform != "win32":  # there, the port, and the server, refuse a second process
    import fcntl

__all__ = ["InUseError", "LockFile"]


class InUseError(FlareError):
    """Another process does this already."""


class LockFile:
    """Held from when it is made until it is released, or the process ends, however that happens.

    Raises:
        InUseError: another process holds it; names it.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform != "win32":
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                holder = os.read(self._descriptor, 20).decode(errors="replace").strip()
                os.close(self._descriptor)
                raise InUseError(
                    f"{what} runs already, as process {holder or 'unknown'}; stop that one first"
                ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._descriptor)


def holder_of(path: Path) -> int | None:
    """The process that holds a lock file; None if none does."""
    if sys.platform == "win32" or not path.is_file():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = file.read().strip()
            return int(text) if text.isdigit() else None
    return None
