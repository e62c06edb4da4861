"""Copies of data in memory, for simulated sites that are processes of their own.

A job folder cannot hold a data frame, and must not: it may be sent to a server. Where the folder is only for processes
on this machine, an object may write a copy of what it holds, and give its path in place of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_folder: ContextVar[Path | None] = ContextVar("folder of local copies", default=None)


@contextmanager
def local_copies(folder: Path) -> Iterator[None]:
    """Allow copies in ``folder`` while a job is written that does not leave this machine."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def copies_folder() -> Path | None:
    """Return the folder for copies; None if the job that is being written may leave this machine."""
    return _folder.get()
