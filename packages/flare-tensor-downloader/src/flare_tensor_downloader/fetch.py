"""Fetching: ranges of a tensor, a bounded number of them under way, each received where it belongs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from flare_core.model import key_text
from flare_transport import Cell, PeerLostError, PendingReply, RemoteError, UnreachableError

from flare_tensor_downloader.errors import DigestError, DownloadError, IncompleteError
from flare_tensor_downloader.source import Entry, digest_of

__all__ = ["Offered", "fetch"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CHUNK_BYTES = 1 << 22
WINDOW = 4


@dataclass(frozen=True, slots=True)
class Offered:
    """Where tensors can be fetched: a reference at a cell."""

    cell: Cell
    owner: str
    ref_id: str
    timeout_s: float | None = None

    def ask(self, index: int, offset: int, target: memoryview) -> PendingReply:
        """Ask for a range, to be received into ``target``."""
        return self.cell.start_request(
            self.owner, "tensor.pull", [self.ref_id, index, offset, len(target)], into=target
        )

    def release(self) -> None:
        """Tell the owner that nothing more will be fetched."""
        try:
            self.cell.send(self.owner, "tensor.release", [self.ref_id])
        except (PeerLostError, UnreachableError):
            return  # with its link the owner's offers are gone


@dataclass(slots=True)
class _Piece:
    entry: Entry
    offset: int
    target: memoryview
    pending: PendingReply
    last_of: Array | None  # the whole array, on the piece that completes it


def fetch(offered: Offered, wanted: Iterable[tuple[int, Entry, Array]]) -> Iterator[Array]:
    """Fetch tensors, in order, into arrays that the caller gives; yield each when it is complete and checked.

    Up to ``WINDOW`` ranges are under way, the next tensors' among them, so the link does not idle between tensors.

    Args:
        offered: where they are.
        wanted: index in the offer, description, and a C-contiguous array to receive into; taken as the window moves.

    Raises:
        IncompleteError, DigestError: the bytes are too few, too many or wrong; names the tensor and the owner.
        DownloadError: the owner has no such tensor, or its link ended.
        TimeoutError: the owner did not send a range within the offer's limit.
    """
    window: deque[_Piece] = deque()
    for piece in _pieces(offered, wanted):
        window.append(piece)
        while len(window) >= WINDOW:
            yield from _complete(offered, window.popleft())
    while window:
        yield from _complete(offered, window.popleft())


def _pieces(offered: Offered, wanted: Iterable[tuple[int, Entry, Array]]) -> Iterator[_Piece]:
    for index, entry, array in wanted:
        view = memoryview(array.reshape(-1).view(np.uint8))
        starts = range(0, len(view), CHUNK_BYTES) or range(1)
        for start in starts:
            target = view[start : start + CHUNK_BYTES]
            pending = offered.ask(index, start, target)
            yield _Piece(entry, start, target, pending, array if start == starts[-1] else None)


def _complete(offered: Offered, piece: _Piece) -> Iterator[Array]:
    where = f"'{key_text(piece.entry.key)}' from {offered.owner}"
    try:
        message = piece.pending.result(offered.timeout_s)
    except RemoteError as error:
        raise DownloadError(f"{where}: {error}") from error
    except (PeerLostError, UnreachableError) as error:
        raise DownloadError(f"{where}: {error}; {piece.offset} of {piece.entry.nbytes} bytes had arrived") from error
    if len(message.body) != len(piece.target):
        raise IncompleteError(
            f"{where}: {len(message.body)} bytes arrived where {len(piece.target)} of {piece.entry.nbytes} were asked for"
        )
    digest = (message.extra or {}).get("digest")
    if digest != digest_of(piece.target):
        raise DigestError(
            f"{where}: the bytes at {piece.offset} are not those that were sent (digest {digest!r} differs)"
        )
    if piece.last_of is not None:
        yield piece.last_of
