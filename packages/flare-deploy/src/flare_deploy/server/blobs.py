"""Blobs: job archives, kept under the SHA-256 of their content, in a folder or wherever fsspec reaches."""

from __future__ import annotations

import secrets
from pathlib import Path

import fsspec

from flare_core import JobError
from flare_deploy.archive import sha256_of

__all__ = ["Blobs"]


class Blobs:
    """Content-addressed files.

    Args:
        url: a folder, or any URL that fsspec opens, such as ``s3://bucket/flare``.
    """

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)

    def put(self, path: Path, digest: str) -> None:
        """Keep a file's content under its digest; content that is there already is not written again."""
        place = self._place(digest)
        if not self._files.exists(place):
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            partial = f"{place}.{secrets.token_hex(4)}.partial"
            self._files.put_file(str(path), partial)
            self._files.mv(partial, place)

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
