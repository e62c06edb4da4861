"""Fetching: ranges of tensors, a bounded number of them under way, each received where it belongs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from flare_core.model import key_text
from flare_tensor_downloader.errors import (
    DigestError,
    DownloadError,
    IncompleteError,
    StalledError,
    UnknownReferenceError,
)
from flare_tensor_downloader.source import CHUNK_BYTES, Entry, digest_of
from flare_transport import Cell, PeerLostError, PendingReply, RemoteError, UnreachableError

__all__ = ["CHUNK_BYTES", "WINDOW", "Offered", "Piece", "fetch"]

WINDOW = 4


@dataclass(frozen=True, slots=True)
class Offered:
    """Where tensors can be fetched: a reference at a cell.

    Attributes:
        cell: the one that fetches.
        owner: the name of the cell that offers them.
        ref_id: under which reference.
        timeout_s: seconds to wait for one range; None waits as long as the link lasts.
        sealed: whether they come so that no cell in between can read them.
    """

    cell: Cell
    owner: str
    ref_id: str
    timeout_s: float | None = None
    sealed: bool = False

    def ask(self, index: int, offset: int, target: memoryview) -> PendingReply:
        """Ask for a range of the tensor ``index``, from the byte ``offset`` on, to be received into ``target``.

        One that is sealed has memory of its own.
        """
        request = [self.ref_id, index, offset, len(target)]
        if self.sealed:
            return self.cell.start_request(self.owner, "tensor.pull", request, sealed=True)
        return self.cell.start_request(self.owner, "tensor.pull", request, into=target)

    def release(self) -> None:
        """Tell the owner that nothing more will be fetched."""
        try:
            self.cell.send(self.owner, "tensor.release", [self.ref_id])
        except (PeerLostError, UnreachableError):
            return  # with its link the owner's offers are gone


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of one tensor, and where it is received."""

    index: int
    entry: Entry
    offset: int
    target: memoryview
    digest: int = 0  # of what was received


def fetch(offered: Offered, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Fetch ranges in order, and yield each when it is there and checked.

    Up to ``WINDOW`` ranges are under way, the next tensors' among them, so that the link does not idle in between.
    ``pieces`` is read as the window moves: it may hand out the memory of a piece again once the piece after it was
    taken from this generator.

    Raises:
        IncompleteError, DigestError: the bytes are too few, too many or wrong; names the tensor and the owner.
        DownloadError: the owner has no such tensor, or its link ended.
        StalledError: the owner did not send a range within the offer's limit.
    """
    window: deque[tuple[Piece, PendingReply]] = deque()
    try:
        for piece in pieces:
            window.append((piece, _asked(offered, piece)))
            if len(window) == WINDOW:
                yield _checked(offered, *window.popleft())
        while window:
            yield _checked(offered, *window.popleft())
    finally:
        for _, pending in window:
            pending.cancel()


def _asked(offered: Offered, piece: Piece) -> PendingReply:
    try:
        return offered.ask(piece.index, piece.offset, piece.target)
    except (PeerLostError, UnreachableError, RemoteError, TimeoutError) as error:  # keys may be agreed upon first
        raise _lost(offered, piece, error) from error


def _lost(offered: Offered, piece: Piece, error: Exception) -> DownloadError:
    where = f"'{key_text(piece.entry.key)}' from {offered.owner}"
    text = f"{where}: {error}; {piece.offset} of {piece.entry.nbytes} bytes had arrived"
    return StalledError(text, owner=offered.owner) if isinstance(error, TimeoutError) else DownloadError(text)


def _checked(offered: Offered, piece: Piece, pending: PendingReply) -> Piece:
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
        raise IncompleteError(
            f"{where}: {len(message.body)} bytes arrived where {len(piece.target)} of {piece.entry.nbytes} were due"
        )
    if offered.sealed:
        piece.target[:] = message.body
    digest = (message.extra or {}).get("digest")
    found = digest_of(piece.target)
    if digest != found:
        raise DigestError(f"{where}: the bytes at {piece.offset} are not those that were sent (digest {digest!r})")
    return replace(piece, digest=found)
