"""Archives of job folders: the same for the same files, and unpacked into their folder or not at all."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from flare_core import JobError

__all__ = ["pack_folder", "sha256_of", "unpack"]

LARGE_BYTES = 1 << 20
MAX_FILES = 100_000
MAX_UNPACKED_BYTES = 1 << 34


def sha256_of(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_folder(folder: Path, archive: Path, *, without: Collection[Path] = ()) -> Path:
    """Pack a folder; the same files give the same bytes.

    Args:
        without: files of the folder that are left out.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for path in sorted(each for each in folder.rglob("*") if each.is_file() and each not in without):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            if path.stat().st_size < LARGE_BYTES:  # what is larger is data, which hardly gets smaller, and takes long
                entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, target.open(entry, "w", force_zip64=True) as written:
                shutil.copyfileobj(source, written, 1 << 20)
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder, and nowhere else.

    Raises:
        JobError: it is none, leads out of the folder, or is too large.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise JobError(f"{archive} holds more than {MAX_FILES} files or {MAX_UNPACKED_BYTES} bytes")
            for entry in entries:
                _unpack_one(source, entry, folder)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise JobError(f"{archive} cannot be unpacked ({error})") from error


def _unpack_one(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    place = PurePosixPath(entry.filename)
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if place.is_absolute() or ".." in place.parts or "\\" in entry.filename or is_link or ":" in entry.filename:
        raise JobError(f"the archive holds {entry.filename!r}, which leads out of the folder; nothing of it is used")
    if entry.is_dir():
        return
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as content, target.open("wb") as file:
        left = entry.file_size
        while piece := content.read(min(1 << 20, left + 1)):
            left -= len(piece)
            if left < 0:
                raise JobError(f"{entry.filename!r} of the archive is larger than it says; nothing of it is used")
            file.write(piece)
