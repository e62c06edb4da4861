"""Temporary folders that are removed even if the process that created them is killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def make_scratch() -> Path:
    """Create a temporary folder that :func:`remove_scratch` finds if this process is killed before it removes it.

    Its path is short, since the path of a Unix socket is limited to about 100 bytes.
    """
    return Path(tempfile.mkdtemp(prefix=_prefix(os.getpid())))


def remove_scratch(pid: int) -> None:
    """Remove the temporary folders of a process that has ended."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix(pid)}*"):
        shutil.rmtree(path, ignore_errors=True)  # it may belong to another user's process with the same pid


def _prefix(pid: int) -> str:
    return f"flare-{pid}-"
