"""Objects that are made piece by piece: their owner offers a producer, their receiver iterates over what it makes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol

from flare_tensor_downloader.downloader import Downloader, once_each
from flare_tensor_downloader.errors import DownloadError
from flare_transport import Cell, PeerLostError, RemoteError, UnreachableError

__all__ = ["Producer", "add_object", "download_object"]


class Producer(Protocol):
    """Makes the pieces of an object."""

    def produce(self, number: int) -> Any:
        """Return a piece, any object that can be serialized; None after the last.

        Pieces are numbered from 0. Receivers ask at their own pace, at the same time, and may ask again for a piece.
        """


def add_object(downloader: Downloader, producer: Producer, receivers: Collection[str] = ()) -> str:
    """Offer what ``producer`` makes and return the reference.

    Args:
        downloader: of the cell that offers it.
        producer: asked for a piece when a receiver wants it.
        receivers: as for :func:`~flare_tensor_downloader.add_tensors`.
    """
    return downloader.offer_object(producer, once_each(receivers)).ref_id


def download_object(from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell) -> Iterator[Any]:
    """Fetch an object piece by piece, the next one while the reader works on the last.

    Args:
        from_fqcn: name of the cell that offers it.
        ref_id: what :func:`add_object` returned there.
        per_request_timeout: seconds to wait for one piece; None waits as long as the link lasts.
        cell: the cell that fetches.
    Raises:
        DownloadError: the producer failed, the reference is unknown, or the owner is lost; what came before is right.
        TimeoutError: a piece took too long.
    """
    number = 0
    try:
        pending = cell.start_request(from_fqcn, "object.piece", [ref_id, number])
        while True:
            piece = pending.result(per_request_timeout).payload
            if piece is None:
                break
            number += 1
            pending = cell.start_request(from_fqcn, "object.piece", [ref_id, number])
            yield piece
        cell.send(from_fqcn, "tensor.release", [ref_id])
    except (RemoteError, PeerLostError, UnreachableError) as error:
        raise DownloadError(f"piece {number} of the object {ref_id} from {from_fqcn}: {error}") from error
