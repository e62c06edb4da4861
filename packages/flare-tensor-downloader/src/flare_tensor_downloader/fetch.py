"""Fetch tensors range by range, with a bounded number of requests in flight, straight into their destination."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from flare_core.model import key_text
from flare_tensor_downloader.errors import DownloadError, StalledError, UnknownReferenceError
from flare_tensor_downloader.source import Entry, digest_of
from flare_transport import Cell, PeerLostError, RemoteError, UnreachableError
from flare_transport.replies import PendingReply

WINDOW = 4


@dataclass(frozen=True, slots=True)
class RemoteOffer:
    """The receiver's handle of an offer: a reference at another cell.

    Attributes:
        cell: the cell that fetches.
        owner: name of the cell that offers the tensors.
        ref_id: the reference.
        timeout_s: seconds to wait for each range; None waits as long as the link is up.
        sealed: whether the tensors are encrypted, so that no cell on the way can read them.
    """

    cell: Cell
    owner: str
    ref_id: str
    timeout_s: float | None = None
    sealed: bool = False

    def request(self, index: int, offset: int, target: memoryview) -> PendingReply:
        """Request a range of the tensor ``index``, from the byte ``offset`` on, as long as ``target``.

        It is received into ``target``, unless it is sealed; then the reply has memory of its own.
        """
        request = [self.ref_id, index, offset, len(target)]
        if self.sealed:
            return self.cell.start_request(self.owner, "tensor.pull", request, sealed=True)
        return self.cell.start_request(self.owner, "tensor.pull", request, into=target)

    def release(self) -> None:
        """Tell the owner that nothing more will be fetched, so that it can close the offer."""
        try:
            self.cell.send(self.owner, "tensor.release", [self.ref_id])
        except (PeerLostError, UnreachableError):
            return  # the owner closes its offers when the link ends


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of one tensor, and the memory it is received into."""

    index: int
    entry: Entry
    offset: int
    target: memoryview
    digest: int = 0  # of the bytes received


def fetch(offered: RemoteOffer, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Fetch ranges in order, and yield each one when it has arrived and its digest is checked.

    Up to ``WINDOW`` requests are in flight, across tensors, so that the link is never idle. ``pieces`` is consumed as
    the window moves: it may reuse the memory of a piece as soon as the following one was taken from this generator.

    Raises:
        DownloadError: the number of bytes or the bytes are wrong, the owner does not have the tensor, or its link
            ended; names the tensor and the owner.
        StalledError: the owner did not send a range within ``timeout_s``.
    """
    window: deque[tuple[Piece, PendingReply]] = deque()
    try:
        for piece in pieces:
            window.append((piece, _requested(offered, piece)))
            if len(window) == WINDOW:
                yield _checked(offered, *window.popleft())
        while window:
            yield _checked(offered, *window.popleft())
    finally:
        for _, pending in window:
            pending.cancel()


def _requested(offered: RemoteOffer, piece: Piece) -> PendingReply:
    try:
        return offered.request(piece.index, piece.offset, piece.target)
    except (PeerLostError, UnreachableError, RemoteError, TimeoutError) as error:  # of a sealed request's key exchange
        raise _lost(offered, piece, error) from error


def _lost(offered: RemoteOffer, piece: Piece, error: Exception) -> DownloadError:
    where = f"'{key_text(piece.entry.key)}' from {offered.owner}"
    text = f"{where}: {error}; {piece.offset} of {piece.entry.nbytes} bytes had arrived"
    return StalledError(text, owner=offered.owner) if isinstance(error, TimeoutError) else DownloadError(text)


def _checked(offered: RemoteOffer, piece: Piece, pending: PendingReply) -> Piece:
    where = f"'{key_text(piece.entry.key)}' from {offered.owner}"
    try:
        message = pending.result(offered.timeout_s)
    except RemoteError as error:
        kind = UnknownReferenceError if error.kind == UnknownReferenceError.__name__ else DownloadError
        raise kind(f"{where}: {error}") from error
    except (PeerLostError, UnreachableError, TimeoutError) as error:
        pending.cancel()
        raise _lost(offered, piece, error) from error
    if len(message.body) != len(piece.target):
        raise DownloadError(
            f"{where}: {len(message.body)} bytes arrived where {len(piece.target)} of {piece.entry.nbytes} were due"
        )
    if offered.sealed:
        piece.target[:] = message.body
    digest = (message.extra or {}).get("digest")
    found = digest_of(piece.target)
    if digest != found:
        raise DownloadError(f"{where}: the bytes at offset {piece.offset} do not match their digest ({digest!r})")
    return replace(piece, digest=found)
