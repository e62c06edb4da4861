"""Transfer a state dict: offer it at one cell, fetch it at another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from flare_core.model import Key, flatten, key_text, unflatten
from flare_fobs.tensors import to_numpy
from flare_tensor_downloader.downloader import Downloader, one_release_each
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.source import checked_entry
from flare_transport import Cell, RemoteError, TransportError


def add_tensors(downloader: Downloader, tensors: Mapping[str, Any], receivers: Collection[str] = ()) -> str:
    """Offer numpy arrays or torch tensors for download and return the reference; nothing is copied.

    The tensors must not change until the offer is closed: when all receivers have fetched them or are lost.

    Args:
        downloader: the downloader of the offering cell.
        tensors: name to tensor, nested mappings allowed.
        receivers: names of the fetching cells; by default, there is a single one.
    """
    arrays: dict[Key, Any] = {key: to_numpy(value, key=key_text(key)) for key, value in flatten(tensors)}
    return downloader.offer(unflatten(arrays), inline=False, receivers=one_release_each(receivers)).ref_id


def download_tensors(
    from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell, *, spill: str | Path | None = None
) -> tuple[str | None, dict[str, Any]]:
    """Fetch all tensors of a reference.

    Args:
        from_fqcn: name of the offering cell.
        ref_id: the reference that :func:`add_tensors` returned there.
        per_request_timeout: seconds to wait for each range; None waits as long as the link is up.
        cell: the fetching cell.
        spill: a safetensors file to receive the tensors into; the arrays are mapped from it and need not fit into
            memory.
    Returns:
        None and the arrays by name; or an error message and an empty dict, never only some of the tensors.
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
    """Fetch the tensors of a reference one after the other; only one is held, and the ranges fetched ahead.

    The arguments are those of :func:`download_tensors`.

    Yields:
        key and array.
    Raises:
        DownloadError, TransportError, TimeoutError: fetching failed; the tensors yielded before are valid.
    """
    params = _params(from_fqcn, ref_id, per_request_timeout, cell)
    yield from params.arrays()
    params.release()


def _params(from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell) -> RemoteParams:
    offered = RemoteOffer(cell, from_fqcn, ref_id, per_request_timeout)
    try:
        manifest = cell.request(from_fqcn, "tensor.manifest", [ref_id], timeout_s=per_request_timeout).payload
    except RemoteError as error:
        raise DownloadError(str(error)) from error
    try:
        return RemoteParams(offered, [checked_entry(key, dtype, shape) for key, dtype, shape in manifest])
    except (TypeError, ValueError) as error:
        raise DownloadError(f"{from_fqcn} describes the tensors of {ref_id} wrongly: {error}") from error
