"""Errors of writing that name the file; of a full disk, the system says only that it is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["naming"]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in every :class:`OSError` of the block that names none.

    Raises:
        OSError: the block's own error, with the path.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
