"""Atomic replacement of files: a reader sees the old or the new content, even after a crash."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".*.partial"
"""The pattern of unfinished files, which a killed process can leave behind."""


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
    """Yield the path of a new file in the same folder, which replaces ``path`` at the end of the block.

    If the block raises, the new file is removed and ``path`` is unchanged. The new file has a random name, so several
    threads or processes can write the same file; the last to finish wins.

    Raises:
        OSError: the file cannot be written; names it.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with naming(path):
            yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # the error of the block is more useful
            partial.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """Hard-link a file to a second name, so that replacing the first does not affect it; copy it if that fails.

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
