"""The low-level interface for files: offer one at a cell, fetch it at another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from io import FileIO
from pathlib import Path

import numpy as np

from flare_core import FlareError
from flare_tensor_downloader.downloader import Downloader, once_each
from flare_tensor_downloader.fetch import Offered, Piece, fetch
from flare_tensor_downloader.file_errors import naming
from flare_tensor_downloader.source import CHUNK_BYTES, Entry, FileSource, claimed
from flare_transport import Cell

__all__ = ["add_file", "download_file"]


def add_file(downloader: Downloader, path: str | Path, receivers: Collection[str] = ()) -> str:
    """Offer a file for download and return the reference; it must not change until the reference is gone.

    Args:
        downloader: of the cell that offers it.
        path: the file.
        receivers: as for :func:`~flare_tensor_downloader.add_tensors`.
    Raises:
        OSError: it cannot be read.
    """
    path = Path(path)
    return downloader.offer({path.name: FileSource(path)}, inline=False, receivers=once_each(receivers)).ref_id


def download_file(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float | None,
    cell: Cell,
    location: str | Path | None = None,
    *,
    max_bytes: int | None = None,
) -> tuple[str | None, Path | None]:
    """Fetch a file; it appears under its name when all of it is there and checked, or not at all.

    Args:
        from_fqcn: name of the cell that offers it.
        ref_id: what :func:`add_file` returned there.
        per_request_timeout: seconds to wait for one range; None waits as long as the link lasts.
        cell: the cell that fetches.
        location: the folder it goes to; the system's for temporary files if left out.
        max_bytes: a larger file is not fetched; None fetches any.
    Returns:
        None and the file's path; or what went wrong and None.
    """
    offered = Offered(cell, from_fqcn, ref_id, per_request_timeout)
    folder = Path(tempfile.mkdtemp(prefix="flare-download-") if location is None else location)
    try:
        manifest = cell.request(from_fqcn, "tensor.manifest", [ref_id], timeout_s=per_request_timeout).payload
        [[name, dtype, shape]] = manifest
        entry = claimed(str(name), dtype, shape, max_bytes=max_bytes)
        path = folder / Path(str(name)).name  # the sender does not choose the folder
        _fetch_into(offered, entry, path)
        offered.release()
    except (FlareError, TimeoutError, OSError, ValueError, TypeError, OverflowError) as error:
        if location is None:
            folder.rmdir()
        return f"file {ref_id} from {from_fqcn}: {error}", None
    return None, path


def _fetch_into(offered: Offered, entry: Entry, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with naming(path), partial.open("xb", buffering=0) as file:
            for piece in fetch(offered, _pieces(entry)):
                _write_all(file, piece.target)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _write_all(file: FileIO, piece: memoryview) -> None:
    """Write all of a piece; on a disk that is nearly full, a single write can write less without an error."""
    while len(piece):
        piece = piece[file.write(piece) :]


def _pieces(entry: Entry) -> Iterator[Piece]:
    for offset in entry.offsets:
        yield Piece(0, entry, offset, np.empty(min(CHUNK_BYTES, entry.nbytes - offset), np.uint8).data)
