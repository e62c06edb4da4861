"""Offers: tensors that other cells fetch at their own pace, straight from the sender's memory.

Topics that a :class:`Downloader` serves; payloads are flare-fobs values:

    tensor.pull      [reference, index, offset, length]  ->  raw bytes; extra {"digest": XXH3 of them}
    tensor.manifest  [reference]                         ->  [[key, dtype, shape], …]
    tensor.release   [reference]                         (message) the receiver needs nothing more of the offer
    object.piece     [reference, number]                 ->  a piece of an object; nil after the last
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from flare_core.model import Key, flatten
from flare_tensor_downloader.errors import DownloadError, UnknownReferenceError
from flare_tensor_downloader.lazy import RemoteParams, RemoteSource
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.settings import TransferSettings
from flare_tensor_downloader.source import ArraySource, Entry, FileSource, TensorSource, array_of
from flare_tensor_downloader.transaction import Transaction
from flare_transport import Cell, Message, Raw
from flare_transport.address import speaks_for

INLINE_TOTAL_BYTES = 1 << 20


class Offer(Transaction):
    """Tensors that can be fetched under one reference until the offer is closed; made by :meth:`Downloader.offer`.

    Attributes:
        entries: the tensors, in order; small ones are inline and need not be fetched.
        hidden_from: a cell that must not read the tensors. Neither may its parents, its children and any cell that
            forwards them.
    """

    def __init__(
        self,
        downloader: Downloader,
        params: Mapping[str, Any],
        *,
        inline: bool,
        receivers: Mapping[str, int] | None,
        memory: TensorMemory | None,
        with_digest: Collection[Key],
    ) -> None:
        super().__init__(downloader.forget, receivers)
        self.hidden_from: str | None = None
        self._sources: list[TensorSource | None] = []
        self.entries: list[Entry] = []
        if memory is not None:
            memory.forget_held()
        budget = INLINE_TOTAL_BYTES
        for key, source in _sources_of(params):
            if isinstance(source, Entry):  # unchanged, as the offer that is forwarded says
                self._add(source, None)
                continue
            small = inline and source.nbytes <= min(downloader.settings.inline_bytes, budget)
            array = source.array if small and isinstance(source, ArraySource) else None
            if array is not None:
                budget -= source.nbytes
                self._add(Entry(key, source.dtype, source.shape, array), None)
            elif memory is not None and memory.is_same(key, source):
                self._add(Entry(key, source.dtype, source.shape, same=True), None)
            else:
                is_known = isinstance(source, RemoteSource)  # sent by its owner, so nothing has to be computed
                digest = source.digest() if is_known or key in with_digest else None
                self._add(Entry(key, source.dtype, source.shape, digest=digest), source)

    def _add(self, entry: Entry, source: TensorSource | None) -> None:
        self.entries.append(entry)
        self._sources.append(source)

    @property
    def is_inline(self) -> bool:
        """True if the entries hold all values themselves."""
        return not self.needs_fetching and not any(entry.same for entry in self.entries)

    @property
    def needs_fetching(self) -> bool:
        """True if any tensor has to be fetched."""
        return any(source is not None for source in self._sources)

    def source(self, index: int) -> TensorSource:
        """Return the source of an entry that is not inline.

        Raises:
            DownloadError: the entry is inline, or the index is out of range.
        """
        source = self._sources[index] if 0 <= index < len(self._sources) else None
        if source is None:
            raise DownloadError(f"the offer {self.ref_id} has no tensor {index} to fetch")
        return source

    def arrays(self) -> dict[Key, Any]:
        """Return the tensors by key that have to be fetched and are in this process."""
        return {
            entry.key: source.array
            for entry, source in zip(self.entries, self._sources, strict=True)
            if isinstance(source, ArraySource)
        }

    def values(self) -> dict[Key, Any]:
        """Return all tensors by key; those of other cells are fetched."""
        return {
            entry.key: entry.inline if source is None else array_of(source, entry)
            for entry, source in zip(self.entries, self._sources, strict=True)
        }

    def copy_arrays(self) -> None:
        """Offer copies from now on, so that the arrays that were given may be changed."""
        self._sources = [
            ArraySource(source.array.copy()) if isinstance(source, ArraySource) else source for source in self._sources
        ]

    def _drop(self) -> None:
        for source in self._sources:
            if isinstance(source, FileSource):
                source.close()
        self._sources = []
        self.entries = []


class ObjectOffer(Transaction):
    """An object that can be fetched piece by piece under one reference."""

    def __init__(self, downloader: Downloader, producer: Any, receivers: Mapping[str, int] | None) -> None:
        super().__init__(downloader.forget, receivers)
        self.producer = producer

    def _drop(self) -> None:
        self.producer = None


def one_release_each(receivers: Collection[str]) -> dict[str, int] | None:
    """Return ``receivers`` as :meth:`Downloader.offer` takes them, if each sends a single release."""
    return dict.fromkeys(receivers, 1) or None


class Downloader:
    """Serves the offers of one cell.

    Attributes:
        cell: the cell; the caller closes it.
        settings: the settings of this process.
        seals: whether the cell can seal messages; then tensors that are hidden from a cell are only sent sealed.
    Raises:
        SettingError: an environment variable has an invalid value.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.settings = TransferSettings.from_environment()
        self.seals = False
        self._offers: dict[str, Transaction] = {}
        cell.handle("tensor.pull", self._pull)
        cell.handle("tensor.manifest", self._manifest)
        cell.handle("object.piece", self._piece)
        cell.handle("tensor.release", self._release, inline=True)
        cell.on_peer_lost(self._lose, inline=True)

    def offer(
        self,
        params: Mapping[str, Any],
        *,
        inline: bool = True,
        receivers: Mapping[str, int] | None = None,
        memory: TensorMemory | None = None,
        with_digest: Collection[Key] = (),
    ) -> Offer:
        """Offer tensors without copying them; they must not change until the offer is closed or released.

        Args:
            params: name to array or :class:`FileSource`, nested mappings allowed; a :class:`RemoteParams` is forwarded
                range by range.
            inline: put small tensors into the entries instead of having them fetched.
            receivers: name of each receiving cell to the number of releases it will send; the offer is closed when all
                have arrived or their cells are lost. By default, the first release closes the offer.
            memory: the tensors received last; those that have not changed are not offered again.
            with_digest: keys of tensors that the receivers may already have.
        """
        offer = Offer(self, params, inline=inline, receivers=receivers, memory=memory, with_digest=with_digest)
        if not inline or offer.needs_fetching:
            self._offers[offer.ref_id] = offer
        return offer

    def offer_object(self, producer: Any, receivers: Mapping[str, int] | None = None) -> ObjectOffer:
        """Offer the pieces of a :class:`~flare_tensor_downloader.Producer`; ``receivers`` as for :meth:`offer`."""
        offer = ObjectOffer(self, producer, receivers)
        self._offers[offer.ref_id] = offer
        return offer

    def own(self, ref_id: str) -> dict[Key, Any]:
        """Return the tensors by key that this cell itself offers under a reference; they must not be changed.

        Raises:
            UnknownReferenceError: the reference is unknown or closed.
        """
        return self._offer(ref_id).values()

    def forget(self, ref_id: str) -> None:
        """Stop serving a reference."""
        self._offers.pop(ref_id, None)

    @property
    def open_offers(self) -> int:
        """Number of offers that can be fetched now."""
        return len(self._offers)

    def close(self) -> None:
        """Close all offers."""
        for offer in list(self._offers.values()):
            offer.close()

    def _piece(self, message: Message) -> Any:
        ref_id, number = message.payload
        offer = self._offers.get(ref_id)
        if not isinstance(offer, ObjectOffer):
            raise UnknownReferenceError(
                f"{self.cell.name} offers no object under the reference {ref_id!r}; it is unknown or closed"
            )
        return offer.producer.produce(number)

    def _offer(self, ref_id: Any) -> Offer:
        offer = self._offers.get(ref_id)
        if not isinstance(offer, Offer):
            raise UnknownReferenceError(
                f"{self.cell.name} offers nothing under the reference {ref_id!r}; it is unknown or closed"
            )
        return offer

    def _pull(self, message: Message) -> Raw:
        ref_id, index, offset, length = message.payload
        offer = self._offer(ref_id)
        if offer.hidden_from is not None and self.seals:
            _check_may_read(message, offer.hidden_from)
        source = offer.source(index)
        if not 0 <= offset <= offset + length <= source.nbytes:
            raise DownloadError(
                f"{message.sender} requested {length} bytes at offset {offset} of a tensor of {source.nbytes}"
            )
        piece, digest = source.read(offset, length)
        return Raw(piece, {"digest": digest})

    def _manifest(self, message: Message) -> list[Any]:
        (ref_id,) = message.payload
        return [[entry.key, entry.dtype, entry.shape] for entry in self._offer(ref_id).entries]

    def _release(self, message: Message) -> None:
        (ref_id,) = message.payload
        offer = self._offers.get(ref_id)
        if offer is not None:
            offer.done(message.sender)

    def _lose(self, peer: str, error: BaseException | None) -> None:
        for offer in list(self._offers.values()):
            offer.lost(peer)


def _check_may_read(message: Message, hidden_from: str) -> None:
    if speaks_for(hidden_from.partition(".")[0], message.sender) or not message.was_sealed:
        raise DownloadError(f"{message.sender} may not read this offer, or only in a sealed message")


def _sources_of(params: Mapping[str, Any]) -> list[tuple[Key, TensorSource | Entry]]:
    if isinstance(params, RemoteParams):
        return list(params.sources())
    return [
        (key, value if isinstance(value, FileSource) else ArraySource(np.asarray(value)))
        for key, value in flatten(params)
    ]
