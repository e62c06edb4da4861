"""How a model's params travel inside a message: small ones as they are, others as entries of an offer.

An offer can also be told to others than those who were sent it: a site can keep its params, and the server tell another
site where they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import flare_fobs
from flare_core import FLModel, unflatten
from flare_core.model import Key, Params
from flare_tensor_downloader.downloader import INLINE_TOTAL_BYTES, Downloader, Offer
from flare_tensor_downloader.fetch import Offered
from flare_tensor_downloader.lazy import LazyParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.source import Entry, claimed
from flare_transport import Cell

__all__ = ["OfferedParams", "keep_params", "receive_params", "release_params", "send_params"]


class OfferedParams(dict[str, Any]):
    """Stands for a model's params in a message.

    Attributes:
        owner: who offers them.
        ref_id: under which reference.
        entries: what is offered.
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
    """Return what to put into a message for ``model``, and the offer to close afterwards if tensors stay here.

    Small params travel in the message as they are; the caller's model does not change. ``downloader`` is this
    cell's; the other arguments are those of :meth:`Downloader.offer`.
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
    """Return what to put into a message for ``model``, whose tensors all stay here until ``holder`` releases them.

    Others may fetch them; where cells can seal, ``holder`` itself may not.

    Args:
        model: whose arrays must not change until then.
        downloader: of this cell.
        holder: the cell that may let them go; they are let go, too, when it is lost.
    """
    if model.params is None:
        return model
    offer = downloader.offer(model.params, inline=False, receivers={holder: 1})
    offer.hidden_from = holder
    return replace(model, params=OfferedParams(downloader.cell.name, offer.ref_id, offer.entries))


def _is_small(params: Params, inline_bytes: int) -> bool:
    """Whether params can go into a message without being looked at further: a few small arrays in plain dicts."""
    size = 0
    levels: list[Any] = [params]
    while levels:
        level = levels.pop()
        if type(level) is not dict or not (level or level is params):  # an empty one below another does not travel
            return False
        for value in level.values():
            if type(value) is not np.ndarray:
                levels.append(value)  # such as the arrays that an algorithm sends along with a model
            elif value.nbytes > inline_bytes:
                return False
            else:
                size += value.nbytes
    return size <= INLINE_TOTAL_BYTES


def receive_params(
    model: FLModel, cell: Cell, sent: Mapping[Key, Any] | None = None, *, timeout_s: float | None = None
) -> FLModel:
    """Turn what :func:`send_params` put into a message into a model whose params are fetched when they are read.

    Args:
        model: from the message.
        cell: what fetches.
        sent: by key, the tensors of the model that is answered; None if it is no answer, or only passed on.
        timeout_s: for how many seconds nothing may arrive while they are read; None waits as long as the link lasts.
    """
    params = model.params
    if isinstance(params, OfferedParams):
        offered = Offered(cell, params.owner, params.ref_id, timeout_s)
        model.params = LazyParams(offered, params.entries, sent)
    return model


def release_params(model: FLModel, cell: Cell) -> None:
    """Let the owner drop what :func:`send_params` put into a message, without reading it."""
    params = model.params
    if isinstance(params, OfferedParams):
        Offered(cell, params.owner, params.ref_id).release()


def _encode(params: OfferedParams) -> list[Any]:
    entries = [
        [entry.key, entry.dtype, entry.shape, entry.inline, entry.digest, entry.same] for entry in params.entries
    ]
    return [params.owner, params.ref_id, entries]


def _decode(state: Any) -> OfferedParams:
    owner, ref_id, entries = state
    if not isinstance(owner, str) or not isinstance(ref_id, str):
        raise TypeError("an owner and a reference are texts")
    return OfferedParams(owner, ref_id, [claimed(*each) for each in entries])


flare_fobs.register(OfferedParams, "flare.offered_params", _encode, _decode)
