"""The low-level interface: offer a state dict at one cell, fetch it at another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from flare_core import flatten
from flare_core.model import Key, key_text, unflatten
from flare_fobs.tensors import to_numpy
from flare_tensor_downloader.downloader import Downloader, once_each
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import Offered
from flare_tensor_downloader.lazy import LazyParams
from flare_tensor_downloader.source import claimed
from flare_transport import Cell, RemoteError, TransportError

__all__ = ["add_tensors", "download_tensors", "iterate_tensors"]


def add_tensors(downloader: Downloader, tensors: Mapping[str, Any], receivers: Collection[str] = ()) -> str:
    """Offer numpy arrays or torch tensors for download and return the reference; nothing is copied.

    The tensors must not change until the reference is gone, which is when all receivers have them, or are lost.

    Args:
        downloader: of the cell that offers them.
        tensors: name to tensor, nested mappings allowed.
        receivers: names of the cells that fetch; if left out, the first that has fetched is the only one.
    """
    arrays: dict[Key, Any] = {key: to_numpy(value, key=key_text(key)) for key, value in flatten(tensors)}
    return downloader.offer(unflatten(arrays), inline=False, receivers=once_each(receivers)).ref_id


def download_tensors(
    from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell, *, spill: str | Path | None = None
) -> tuple[str | None, dict[str, Any]]:
    """Fetch all tensors of a reference, into memory of their own.

    Args:
        from_fqcn: name of the cell that offers them.
        ref_id: what :func:`add_tensors` returned there.
        per_request_timeout: seconds to wait for one range; None waits as long as the link lasts.
        cell: the cell that fetches.
        spill: a file to receive the tensors into, as safetensors; the arrays lie in it and need not fit into memory.
    Returns:
        None and the arrays by name; or what went wrong and an empty dict, never a part of the tensors.
    """
    try:
        params = _params(from_fqcn, ref_id, per_request_timeout, cell)
        tensors = params.materialize(spill=None if spill is None else Path(spill))
        params.release()
    except (DownloadError, TransportError, TimeoutError) as error:
        return str(error), {}
    return None, tensors


def iterate_tensors(
    from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell
) -> Iterator[tuple[Key, Any]]:
    """Fetch the tensors of a reference one after the other, and hold no more than one, and what is fetched ahead.

    The arguments are those of :func:`download_tensors`.

    Yields:
        key and array.
    Raises:
        DownloadError, TransportError, TimeoutError: what went wrong; what was yielded before is right.
    """
    params = _params(from_fqcn, ref_id, per_request_timeout, cell)
    yield from params.fetched()
    params.release()


def _params(from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell) -> LazyParams:
    offered = Offered(cell, from_fqcn, ref_id, per_request_timeout)
    try:
        manifest = cell.request(from_fqcn, "tensor.manifest", [ref_id], timeout_s=per_request_timeout).payload
    except RemoteError as error:
        raise DownloadError(str(error)) from error
    try:
        return LazyParams(offered, [claimed(key, dtype, shape) for key, dtype, shape in manifest])
    except (TypeError, ValueError) as error:
        raise DownloadError(f"{from_fqcn} says of {ref_id} what cannot be: {error}") from error
