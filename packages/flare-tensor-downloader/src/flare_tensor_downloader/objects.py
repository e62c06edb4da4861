"""Transfer objects piece by piece: the owner offers a producer, the receiver iterates over its pieces."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Protocol

from flare_tensor_downloader.downloader import Downloader, one_release_each
from flare_tensor_downloader.errors import DownloadError
from flare_transport import Cell, PeerLostError, RemoteError, UnreachableError


class Producer(Protocol):
    """Produces the pieces of an object."""

    def produce(self, number: int) -> Any:
        """Return a piece, which is any serializable object; None after the last.

        Pieces are numbered from 0. Receivers request them concurrently, each at its own pace, and may request a piece
        again.
        """


def add_object(downloader: Downloader, producer: Producer, receivers: Collection[str] = ()) -> str:
    """Offer the pieces of ``producer`` and return the reference.

    Args:
        downloader: the downloader of the offering cell.
        producer: called for each piece that a receiver requests.
        receivers: as for :func:`~flare_tensor_downloader.add_tensors`.
    """
    return downloader.offer_object(producer, one_release_each(receivers)).ref_id


def download_object(from_fqcn: str, ref_id: str, per_request_timeout: float | None, cell: Cell) -> Iterator[Any]:
    """Fetch an object piece by piece; the next piece is fetched while the caller processes the current one.

    Args:
        from_fqcn: name of the offering cell.
        ref_id: the reference that :func:`add_object` returned there.
        per_request_timeout: seconds to wait for each piece; None waits as long as the link is up.
        cell: the fetching cell.
    Raises:
        DownloadError: the producer failed, the reference is unknown, or the owner is lost; earlier pieces are valid.
        TimeoutError: a piece did not arrive in time.
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
