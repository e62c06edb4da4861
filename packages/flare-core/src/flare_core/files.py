"""Atomic replacement of files: whoever reads one finds the old content or the new, also after a crash."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PARTIAL", "link", "naming", "replacing", "write_text"]

PARTIAL = ".*.partial"
"""The pattern that unfinished files match; a process that is killed can leave one behind."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to any :class:`OSError` of the block that names no file, such as the one about a full disk.

    Raises:
        OSError: the error of the block, with the path.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file beside ``path``, which takes its place when the block ends.

    If the block raises, the new file is removed and ``path`` stays as it was. The new file's name is drawn for each
    call, so two threads or processes can write the same file; the last to finish wins.

    Raises:
        OSError: the file cannot be written; names it.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with naming(path):
            yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # the error of the block says more
            partial.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """Give a file a second name, which it keeps when another file takes the first.

    Where links are not possible, the file is copied.

    Raises:
        OSError: ``source`` cannot be read, or ``target`` not written.
    """
    if target.exists() and target.samefile(source):
        return  # renaming one link of a file to another does nothing, and would leave the partial name behind
    with replacing(target) as partial:
        try:
            os.link(source, partial)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, partial)
