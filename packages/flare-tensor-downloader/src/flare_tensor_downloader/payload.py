"""Payloads: any object on its way, whose large arrays are fetched instead of travelling inside the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import flare_fobs
from flare_tensor_downloader.downloader import INLINE_TOTAL_BYTES, Downloader, Offer
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import RemoteOffer
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.source import Entry, checked_entry
from flare_transport import Cell


class Payload:
    """An object as it travels: its serialized form, and where its large arrays can be fetched.

    Args:
        owner: the cell that offers the arrays.
        ref_id: the reference under which it does; empty if there is nothing to fetch.
        entries: the arrays, as flat arrays of bytes, in the order in which the object mentions them. If the serialized
            form itself is large, it is the first of them, and ``frames[0]`` is empty.
        frames: the serialized form, see :func:`flare_fobs.dump_frames`.
    """

    def __init__(self, owner: str, ref_id: str, entries: list[Entry], frames: list[bytes]) -> None:
        self.owner = owner
        self.ref_id = ref_id
        self.entries = entries
        self.frames = frames

    @property
    def needs_fetching(self) -> bool:
        """True if the owner holds a part of it."""
        return bool(self.entries)

    def read(self, cell: Cell, *, timeout_s: float | None = None) -> Any:
        """Return the object, with arrays of its own memory.

        Args:
            cell: fetches the arrays.
            timeout_s: for how many seconds nothing may arrive; None waits as long as the link lasts.
        Raises:
            DownloadError: an array cannot be fetched.
            FobsError: the bytes are no object, or hold a type that is not registered here.
        """
        arrays: list[Any] = []
        if self.entries:
            params = RemoteParams(RemoteOffer(cell, self.owner, self.ref_id, timeout_s), self.entries)
            arrays = list(params.materialize().values())
        metadata = self.frames[0]
        if not metadata:
            if not arrays:
                raise DownloadError(f"{self.owner} sent an empty message")
            metadata = arrays.pop(0).tobytes()
        return flare_fobs.load_frames([metadata, *map(bytearray, self.frames[1:])], asides=arrays)

    def release(self, cell: Cell) -> None:
        """Let the owner drop its arrays, which cannot be fetched any more then."""
        if self.entries:
            RemoteOffer(cell, self.owner, self.ref_id).release()


def pack_payload(
    data: Any, downloader: Downloader, *, receivers: Mapping[str, int] | None = None
) -> tuple[Payload, Offer | None]:
    """Serialize an object for a message, and offer those of its arrays that are too large for one.

    Args:
        data: anything that :mod:`flare_fobs` serializes. Its large arrays must not change until the offer is closed or
            released.
        downloader: of the cell that sends.
        receivers: as for :meth:`Downloader.offer`.
    Returns:
        What to put into the message, and the offer to close afterwards, if there is something to fetch.
    Raises:
        EncodeError: something cannot travel; names the path to it.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    budget = INLINE_TOTAL_BYTES

    def set_aside(memory: np.ndarray[Any, Any]) -> bool:
        nonlocal budget
        if memory.nbytes <= min(downloader.settings.inline_bytes, budget):
            budget -= memory.nbytes
            return False
        arrays.append(memory)
        return True

    metadata, *frames = flare_fobs.dump_frames(data, set_aside=set_aside)
    if len(metadata) > INLINE_TOTAL_BYTES:  # long texts, bytes or lists
        arrays.insert(0, np.frombuffer(metadata, np.uint8))
        metadata = b""
    if not arrays:
        return Payload(downloader.cell.name, "", [], [bytes(metadata), *map(bytes, frames)]), None
    named = {str(number): array for number, array in enumerate(arrays)}
    offer = downloader.offer(named, inline=False, receivers=receivers)
    return Payload(downloader.cell.name, offer.ref_id, offer.entries, [bytes(metadata), *map(bytes, frames)]), offer


def _encode(payload: Payload) -> list[Any]:
    entries = [[entry.key, entry.shape[0]] for entry in payload.entries]
    return [payload.owner, payload.ref_id, entries, payload.frames]


def _decode(state: Any) -> Payload:
    owner, ref_id, entries, frames = state
    is_well = isinstance(owner, str) and isinstance(ref_id, str) and isinstance(frames, list) and frames
    if not is_well or not all(isinstance(frame, bytes) for frame in frames):
        raise TypeError("a payload holds the names of its owner and its reference, entries and frames")
    return Payload(owner, ref_id, [checked_entry(key, "uint8", (size,)) for key, size in entries], frames)


flare_fobs.register(Payload, "flare.payload", _encode, _decode)
