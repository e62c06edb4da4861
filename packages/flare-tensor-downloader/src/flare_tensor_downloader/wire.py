"""Params in messages: small ones are sent inside the message, larger ones as entries of an offer.

The receiver of an offer can forward it: a site can keep its params, and the server can send the offer to another site.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import flare_fobs
from flare_core import FLModel
from flare_core.model import Key, Params, flatten, key_text, unflatten
from flare_fobs import FobsError
from flare_fobs.dtypes import dtype_name
from flare_tensor_downloader.downloader import INLINE_TOTAL_BYTES, Downloader, Offer
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.source import Entry, checked_entry
from flare_transport import Cell


class OfferedParams(dict[str, Any]):
    """Takes the place of a model's params in a message.

    Attributes:
        owner: name of the offering cell.
        ref_id: the reference of the offer.
        entries: the tensors of the offer.
    """

    def __init__(self, owner: str, ref_id: str, entries: list[Entry]) -> None:
        super().__init__()
        self.owner = owner
        self.ref_id = ref_id
        self.entries = entries


def send_params(
    model: FLModel,
    downloader: Downloader,
    *,
    receivers: Mapping[str, int] | None = None,
    memory: TensorMemory | None = None,
    with_digest: Collection[Key] = (),
) -> tuple[FLModel, Offer | None]:
    """Return ``model`` in the form to put into a message, and the offer to close afterwards, if one was made.

    Small params stay as they are; the caller's model does not change. ``downloader`` is that of the sending cell; the
    other arguments are those of :meth:`Downloader.offer`.
    """
    params = model.params
    if params is None or isinstance(params, OfferedParams) or _is_small(params, downloader.settings.inline_bytes):
        return model, None
    offer = downloader.offer(params, receivers=receivers, memory=memory, with_digest=with_digest)
    if offer.is_inline:
        return replace(model, params=unflatten({entry.key: entry.inline for entry in offer.entries})), None
    offered = OfferedParams(downloader.cell.name, offer.ref_id, offer.entries)
    return replace(model, params=offered), offer if offer.needs_fetching else None


def keep_params(model: FLModel, downloader: Downloader, holder: str) -> FLModel:
    """Return ``model`` in the form to put into a message, with all tensors offered until ``holder`` releases them.

    Other cells may fetch them; ``holder`` itself may not if the downloader seals messages.

    Args:
        model: its arrays must not change until then.
        downloader: the downloader of the sending cell.
        holder: the cell that releases the offer; the offer is also closed when that cell is lost.
    """
    if model.params is None:
        return model
    offer = downloader.offer(model.params, inline=False, receivers={holder: 1})
    offer.hidden_from = holder
    return replace(model, params=OfferedParams(downloader.cell.name, offer.ref_id, offer.entries))


def _is_small(params: Params, inline_bytes: int) -> bool:
    """Return whether params are a few small arrays in plain dicts, which can be sent as they are."""
    size = 0
    levels: list[Any] = [params]
    while levels:
        level = levels.pop()
        if type(level) is not dict or not (level or level is params):  # empty nested mappings are not sent
            return False
        for value in level.values():
            if type(value) is not np.ndarray:
                levels.append(value)  # a nested mapping; any other value is refused above
            elif value.nbytes > inline_bytes:
                return False
            else:
                size += value.nbytes
    return size <= INLINE_TOTAL_BYTES


def receive_params(
    model: FLModel, cell: Cell, sent: Mapping[Key, Any] | None = None, *, timeout_s: float | None = None
) -> FLModel:
    """Make the params of a model from :func:`send_params` readable; they are fetched when they are read.

    Args:
        model: the model of the message.
        cell: the fetching cell.
        sent: by key, the tensors of the model that is answered; None if it is no answer, or is only forwarded.
        timeout_s: seconds to wait for each range; None waits as long as the link is up.
    """
    params = model.params
    if isinstance(params, OfferedParams):
        offered = RemoteOffer(cell, params.owner, params.ref_id, timeout_s)
        model.params = RemoteParams(offered, params.entries, sent)
    return model


def leased_params(params: Params, owner: str) -> RemoteParams:
    """Return params that came with a message in the form of those that are fetched: they can be released.

    Args:
        params: name to array, nested mappings allowed.
        owner: whose params they are, for messages.
    Raises:
        DownloadError: a value is not an array.
    """
    entries = []
    for key, value in flatten(params):
        try:
            array = np.asarray(value)
            entries.append(Entry(key, dtype_name(array.dtype), array.shape, array))
        except (TypeError, ValueError, FobsError) as error:  # such as lists of different lengths in a list
            raise DownloadError(f"'{key_text(key)}' is a {type(value).__name__}, not an array") from error
    return RemoteParams(None, entries, owner=owner)


def release_params(model: FLModel, cell: Cell) -> None:
    """Close the offer that :func:`send_params` made, without fetching from it."""
    params = model.params
    if isinstance(params, OfferedParams):
        RemoteOffer(cell, params.owner, params.ref_id).release()


def _encode(params: OfferedParams) -> list[Any]:
    entries = [
        [entry.key, entry.dtype, entry.shape, entry.inline, entry.digest, entry.same] for entry in params.entries
    ]
    return [params.owner, params.ref_id, entries]


def _decode(state: Any) -> OfferedParams:
    owner, ref_id, entries = state
    if not isinstance(owner, str) or not isinstance(ref_id, str):
        raise TypeError("the owner and the reference of an offer are not strings")
    return OfferedParams(owner, ref_id, [checked_entry(*each) for each in entries])


flare_fobs.register(OfferedParams, "flare.offered_params", _encode, _decode)
