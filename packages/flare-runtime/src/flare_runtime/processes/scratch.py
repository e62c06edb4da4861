"""Temporary folders that are removed even if the process that made them is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["make_scratch", "remove_scratch"]


def make_scratch() -> Path:
    """Make a temporary folder, which :func:`remove_scratch` finds if this process is killed before it can remove it.

    Its path is short, as that of a socket has at most about 100 bytes.
    """
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid())))


def remove_scratch(pid: int) -> None:
    """Remove the temporary folders that a process which has ended has left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix(pid)}*"):
        shutil.rmtree(path, ignore_errors=True)  # one of another user's process of that number is not ours to remove


def _prefix(pid: int) -> str:
    return f"flare-{pid}-"
