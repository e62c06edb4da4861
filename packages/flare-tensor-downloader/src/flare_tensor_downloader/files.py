"""Transfer files: offer one at a cell, fetch it at another."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from flare_core import FlareError
from flare_core.files import replacing
from flare_tensor_downloader.downloader import Downloader, one_release_each
from flare_tensor_downloader.fetch import Piece, RemoteOffer, fetch
from flare_tensor_downloader.source import CHUNK_BYTES, Entry, FileSource, checked_entry
from flare_transport import Cell


def add_file(downloader: Downloader, path: str | Path, receivers: Collection[str] = ()) -> str:
    """Offer a file for download and return the reference; the file must not change until the offer is closed.

    Args:
        downloader: the downloader of the offering cell.
        path: the file.
        receivers: as for :func:`~flare_tensor_downloader.add_tensors`.
    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    return downloader.offer({path.name: FileSource(path)}, inline=False, receivers=one_release_each(receivers)).ref_id


def download_file(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float | None,
    cell: Cell,
    location: str | Path,
    *,
    max_bytes: int | None = None,
) -> tuple[str | None, Path | None]:
    """Fetch a file; it appears under its name when it is complete and checked, or not at all.

    Args:
        from_fqcn: name of the offering cell.
        ref_id: the reference that :func:`add_file` returned there.
        per_request_timeout: seconds to wait for each range; None waits as long as the link is up.
        cell: the fetching cell.
        location: the destination folder.
        max_bytes: refuse a larger file; None means no limit.
    Returns:
        None and the file's path; or an error message and None.
    """
    offered = RemoteOffer(cell, from_fqcn, ref_id, per_request_timeout)
    try:
        manifest = cell.request(from_fqcn, "tensor.manifest", [ref_id], timeout_s=per_request_timeout).payload
        [[name, dtype, shape]] = manifest
        entry = checked_entry(str(name), dtype, shape, max_bytes=max_bytes)
        path = Path(location) / Path(str(name)).name  # the sender must not choose the folder
        with replacing(path) as partial, partial.open("xb") as file:
            for piece in fetch(offered, _pieces(entry)):
                file.write(piece.target)
        offered.release()
    except (FlareError, TimeoutError, OSError, ValueError, TypeError, OverflowError) as error:
        return f"file {ref_id} from {from_fqcn}: {error}", None
    return None, path


def _pieces(entry: Entry) -> Iterator[Piece]:
    for offset in entry.offsets:
        yield Piece(0, entry, offset, np.empty(min(CHUNK_BYTES, entry.nbytes - offset), np.uint8).data)
