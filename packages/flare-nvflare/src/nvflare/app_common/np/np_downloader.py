"""Arrays that other cells fetch, with :mod:`flare_tensor_downloader`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flare_tensor_downloader
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader


def add_arrays(downloader: Any, arrays: Mapping[str, Any], max_chunk_size: int = 2 * 1024 * 1024) -> str:
    """Offer arrays to other cells, and return the reference with which they fetch them."""
    if isinstance(downloader, ObjectDownloader):
        return downloader.offer(arrays)
    return flare_tensor_downloader.add_tensors(downloader, arrays)


def download_arrays(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float,
    cell: Any,
    secure: bool = False,
    optional: bool = False,
    abort_signal: Any = None,
    arrays_received_cb: Callable[..., Any] | None = None,
    **cb_kwargs: Any,
) -> tuple[str | None, dict[str, Any]]:
    """Fetch arrays, and return an error (or None) and the arrays; arguments as for ``download_tensors``."""
    problem, arrays = flare_tensor_downloader.download_tensors(from_fqcn, ref_id, per_request_timeout or None, cell)
    if problem is None and arrays_received_cb is not None:
        kept = arrays_received_cb(arrays, **cb_kwargs)
        arrays = kept if isinstance(kept, dict) else {}
    return problem, arrays
