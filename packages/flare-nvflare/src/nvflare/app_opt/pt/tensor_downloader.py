"""Tensors that other cells fetch, with :mod:`flare_tensor_downloader`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flare_tensor_downloader
from flare_core.model import flatten, unflatten
from flare_fobs.tensors import to_numpy, to_torch
from nvflare.fuel.f3.streaming.obj_downloader import ObjectDownloader


def add_tensors(downloader: Any, tensors: Mapping[str, Any], max_chunk_size: int = 2 * 1024 * 1024) -> str:
    """Offer tensors to other cells, and return the reference with which they fetch them.

    Args:
        downloader: an :class:`ObjectDownloader`, or one of Flare's.
        tensors: tensors by name, such as a state dict.
        max_chunk_size: ignored: ranges of bytes are fetched.
    """
    if not isinstance(downloader, ObjectDownloader):
        return flare_tensor_downloader.add_tensors(downloader, tensors)
    arrays = {key: to_numpy(value, key=str(key)) for key, value in flatten(tensors)}
    return downloader.offer(unflatten(arrays))


def download_tensors(
    from_fqcn: str,
    ref_id: str,
    per_request_timeout: float,
    cell: Any,
    secure: bool = False,
    optional: bool = False,
    abort_signal: Any = None,
    tensors_received_cb: Callable[..., Any] | None = None,
    **cb_kwargs: Any,
) -> tuple[str | None, dict[str, Any]]:
    """Fetch tensors, and return an error (or None) and the tensors by name.

    Args:
        from_fqcn: the cell that offers them.
        ref_id: the reference from :func:`add_tensors`.
        per_request_timeout: seconds to wait for each range of bytes.
        cell: the cell that fetches them.
        secure, optional, abort_signal: ignored.
        tensors_received_cb: called with the tensors and ``cb_kwargs``; returns those to keep.
        cb_kwargs: given to the callback.
    """
    problem, arrays = flare_tensor_downloader.download_tensors(from_fqcn, ref_id, per_request_timeout or None, cell)
    tensors = {str(key): to_torch(value) for key, value in arrays.items()}
    if problem is None and tensors_received_cb is not None:
        kept = tensors_received_cb(tensors, **cb_kwargs)
        tensors = kept if isinstance(kept, dict) else {}
    return problem, tensors
