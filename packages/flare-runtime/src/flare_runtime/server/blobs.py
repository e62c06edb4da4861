"""Blobs: job archives, kept under the SHA-256 of their content, in a folder or wherever fsspec reaches."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import fsspec  # type: ignore[import-untyped]

from flare_core import JobError

__all__ = ["Blobs", "pack_folder", "sha256_of", "unpack"]

LARGE_BYTES = 1 << 20
MAX_FILES = 100_000
MAX_UNPACKED_BYTES = 1 << 34


class Blobs:
    """Content-addressed files.

    Args:
        url: a folder, or any URL that fsspec opens, such as ``s3://bucket/flare``.
    """

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)

    def put(self, path: Path) -> str:
        """Keep a file's content and return its digest; content that is there already is not written again."""
        digest = sha256_of(path)
        place = self._place(digest)
        if not self._files.exists(place):
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            partial = f"{place}.{os.getpid()}.partial"
            self._files.put_file(str(path), partial)
            self._files.mv(partial, place)
        return digest

    def get(self, digest: str, path: Path) -> None:
        """Write the content to ``path``.

        Raises:
            JobError: it is not there, or was damaged.
        """
        try:
            self._files.get_file(self._place(digest), str(path))
        except FileNotFoundError:
            raise JobError(f"the archive {digest} is not in {self._root} any more; submit the job again") from None
        if sha256_of(path) != digest:
            raise JobError(f"the archive {digest} in {self._root} was damaged; submit the job again")

    def delete(self, digest: str) -> None:
        """Remove content; does nothing if it is not there."""
        if self._files.exists(self._place(digest)):
            self._files.rm_file(self._place(digest))

    def _place(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"


def sha256_of(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack_folder(folder: Path, archive: Path, *, without: Collection[str] = ()) -> Path:
    """Pack a folder; the same files give the same bytes.

    Args:
        without: names of files that are left out.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), (1980, 1, 1, 0, 0, 0))
            if path.name in without:
                continue
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
