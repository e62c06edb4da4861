"""Files that other cells fetch, with :mod:`flare_tensor_downloader`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import flare_tensor_downloader


def add_file(
    downloader: Any,
    file_name: str,
    chunk_size: int | None = None,
    ref_id: str | None = None,
    file_downloaded_cb: Any = None,
    **cb_kwargs: Any,
) -> str:
    """Offer a file to other cells, and return the reference with which they fetch it; other arguments are ignored."""
    return flare_tensor_downloader.add_file(getattr(downloader, "downloader", downloader), file_name)


def download_file(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float,
    cell: Any,
    location: str | None = None,
    secure: bool = False,
    optional: bool = False,
    abort_signal: Any = None,
) -> tuple[str | None, str | None]:
    """Fetch a file, and return an error (or None) and its path; it is written into the folder ``location``."""
    folder = Path(location or tempfile.mkdtemp(prefix="nvflare-"))
    problem, path = flare_tensor_downloader.download_file(from_fqcn, ref_id, per_request_timeout or None, cell, folder)
    return problem, None if path is None else str(path)
