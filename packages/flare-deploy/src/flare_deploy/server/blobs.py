"""Blobs: job archives, stored under the SHA-256 of their content in a folder or at any URL that fsspec opens."""

from __future__ import annotations

import secrets
from pathlib import Path

import fsspec

from flare_core import JobError
from flare_deploy.archive import sha256_of


class Blobs:
    """A store of content-addressed files.

    Args:
        url: a folder, or any URL that fsspec opens, such as ``s3://bucket/flare``.
    """

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)

    def put(self, path: Path, digest: str) -> None:
        """Store a file under the digest of its content, unless the content is stored already."""
        place = self._place(digest)
        if not self._files.exists(place):
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            partial = f"{place}.{secrets.token_hex(4)}.partial"
            self._files.put_file(str(path), partial)
            self._files.mv(partial, place)

    def get(self, digest: str, path: Path) -> None:
        """Write stored content to ``path``.

        Raises:
            JobError: the content is missing or damaged.
        """
        try:
            self._files.get_file(self._place(digest), str(path))
        except FileNotFoundError:
            raise JobError(f"the archive {digest} is no longer in {self._root}; submit the job again") from None
        if sha256_of(path) != digest:
            raise JobError(f"the archive {digest} in {self._root} is damaged; submit the job again")

    def delete(self, digest: str) -> None:
        """Delete stored content; do nothing if it is not there."""
        if self._files.exists(self._place(digest)):
            self._files.rm_file(self._place(digest))

    def _place(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"
