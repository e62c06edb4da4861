"""Archives of job folders: equal files give equal archives, and nothing is unpacked outside the target folder."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from flare_core import JobError
from flare_core.job_folder import files_below

LARGE_BYTES = 1 << 20
MAX_FILES = 100_000
MAX_UNPACKED_BYTES = MAX_ARCHIVE_BYTES = 1 << 34
MAX_META_BYTES = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others cannot be unpacked with bounded memory
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)


def sha256_of(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_folder(folder: Path, archive: Path) -> Path:
    """Pack a folder; equal files give equal bytes.

    Raises:
        JobError: a file is a link that leads out of the folder, to what may be private.
    """
    return pack({path.relative_to(folder).as_posix(): path for path in files_below(folder)}, archive)


def pack(files: Mapping[str, Path | bytes], archive: Path) -> Path:
    """Pack files; equal files give equal bytes.

    Args:
        files: the path or the content of each file, by its name in the archive.
        archive: the path to write.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for place, file in files.items():
            entry = zipfile.ZipInfo(place, (1980, 1, 1, 0, 0, 0))
            size = len(file) if isinstance(file, bytes) else file.stat().st_size
            if size < LARGE_BYTES:  # larger files are data, which take long to compress and hardly shrink
                entry.compress_type = zipfile.ZIP_DEFLATED
            with (
                io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as source,
                target.open(entry, "w", force_zip64=True) as written,
            ):
                shutil.copyfileobj(source, written, 1 << 20)
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder, and nowhere else.

    Raises:
        JobError: it cannot be read, has an entry that leads out of the folder, or is too large.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = source.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_UNPACKED_BYTES:
                raise JobError(f"{archive} has more than {MAX_FILES} files or {MAX_UNPACKED_BYTES} bytes")
            for entry in entries:
                _unpack_one(source, entry, folder)
    except _DAMAGE as error:
        raise JobError(f"{archive} cannot be unpacked ({error})") from error


def read_entry(archive: Path, name: str) -> bytes:
    """Return the content of a small file in an archive.

    Raises:
        JobError: the archive cannot be read or has no such file, or the file is larger than 1 MiB.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entry = source.getinfo(name)
            _check_method(entry)
            with source.open(entry) as content:
                found = content.read(MAX_META_BYTES + 1)
    except (KeyError, *_DAMAGE) as error:
        raise JobError(
            f"the archive is not a job ({error}); submit a folder that 'recipe.export(...)' has written"
        ) from error
    if len(found) > MAX_META_BYTES:
        raise JobError(f"{name} of the archive has more than {MAX_META_BYTES} bytes, which is the limit")
    return found


def _check_method(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type not in _METHODS or entry.flag_bits & 1:
        raise JobError(f"{entry.filename!r} of the archive is encrypted, or not compressed with 'deflate'")


def _unpack_one(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    place = PurePosixPath(entry.filename)
    is_link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if (
        not entry.filename
        or place.is_absolute()
        or ".." in place.parts
        or "\\" in entry.filename
        or is_link
        or ":" in entry.filename
    ):
        raise JobError(
            f"the archive has the entry {entry.filename!r}, which leads out of the folder; the archive is not used"
        )
    if entry.is_dir():
        return
    _check_method(entry)
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as content, target.open("wb") as file:
        left = entry.file_size
        while piece := content.read(min(1 << 20, left + 1)):
            left -= len(piece)
            if left < 0:
                raise JobError(f"{entry.filename!r} of the archive is larger than it declares; the archive is not used")
            file.write(piece)
