"""Remote params: a mapping whose arrays are fetched each time they are read."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flare_core.model import Key, key_text, unflatten
from flare_core.tensor_blocks import LazyParams, TensorBlocks
from flare_fobs.dtypes import dtype_name
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import WINDOW, Piece, RemoteOffer, fetch
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.source import CHUNK_BYTES, ArraySource, Entry, TensorSource, digest_of
from flare_tensor_downloader.spill import SpillFile

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class RemoteSource:
    """A tensor of another cell, forwarded range by range without being held here."""

    def __init__(self, offered: RemoteOffer, index: int, entry: Entry) -> None:
        self._offered = offered
        self._index = index
        self._entry = entry
        self.dtype, self.shape, self.nbytes = entry.dtype, entry.shape, entry.nbytes

    def digest(self) -> bytes | None:
        """Return the digest of the tensor, if its owner has sent it."""
        return self._entry.digest

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Fetch a range and the digest that its owner has computed.

        Raises:
            DownloadError: the owner sent a wrong number of bytes.
        """
        piece = memoryview(bytearray(length))
        message = self._offered.request(self._index, offset, piece).result(self._offered.timeout_s)
        if len(message.body) != length:
            raise DownloadError(f"{self._offered.owner} sent {len(message.body)} bytes where {length} were requested")
        return piece, (message.extra or {}).get("digest", digest_of(piece))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor of the offer; its array, if it need not be fetched."""

    index: int
    entry: Entry
    local: Array | None = None


class RemoteParams(LazyParams):
    """Name to array; an array is fetched whenever it is read. Nested mappings are those of the sender.

    ``items()`` fetches ahead; :meth:`tensors` needs the memory of a few ranges, however large the tensors are.

    Args:
        offered: the offer that they are fetched from; None if all arrays came with the message.
        entries: the tensors of the offer.
        sent: by key, the tensors of the model that these params answer; None if they are only forwarded.
        owner: whose params they are, for messages; the offering cell if left out.
    Raises:
        DownloadError: an entry is marked as unchanged, but no such tensor was sent.
    """

    def __init__(
        self,
        offered: RemoteOffer | None,
        entries: list[Entry],
        sent: Mapping[Key, Array] | None = None,
        *,
        owner: str = "",
    ) -> None:
        owner = owner or (offered.owner if offered is not None else "")
        leaves = {entry.key: Leaf(index, entry, _local_of(entry, sent, owner)) for index, entry in enumerate(entries)}
        self._start(_Lease(offered, owner), unflatten(leaves))

    def _start(self, lease: _Lease, tree: dict[str, Any]) -> None:
        self._lease = lease
        self._children: dict[str, Leaf | RemoteParams] = {}
        for name, value in tree.items():
            if isinstance(value, dict):
                child = RemoteParams.__new__(RemoteParams)
                child._start(lease, value)
                self._children[name] = child
            else:
                self._children[name] = value

    def __getitem__(self, name: str) -> Any:
        child = self._children[name]
        if isinstance(child, RemoteParams):
            return child
        (array,) = self._fetched([child])
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def items(self) -> _Items:
        """Iterate over names and arrays; the next arrays are fetched ahead."""
        return _Items(self)

    def tensor_keys(self) -> list[Key]:
        return [key for key, _ in self.leaves()]

    def tensors(self) -> Iterator[tuple[Key, TensorBlocks]]:
        self._check_open()
        leaves = list(self.leaves())
        remote = [leaf for _, leaf in leaves if leaf.local is None]
        fetched = fetch(self._lease.offer, _pieces_in_ring(remote)) if remote else iter(())
        for key, leaf in leaves:
            if leaf.local is not None:
                blocks = TensorBlocks.of(leaf.local)
                blocks.unchanged = leaf.local if leaf.entry.same else None
                yield key, blocks
            else:
                values = _blocks_of(leaf.entry, fetched)
                yield key, TensorBlocks(leaf.entry.numpy_dtype, leaf.entry.shape, values)
                for _ in values:  # a tensor that the caller did not read, such as an excluded one
                    pass

    def leaves(self) -> Iterator[tuple[Key, Leaf]]:
        """Yield the key and the description of every tensor, without fetching it."""
        for name, child in self._children.items():
            if isinstance(child, RemoteParams):
                for key, leaf in child.leaves():
                    yield (name, *((key,) if isinstance(key, str) else key)), leaf
            else:
                yield name, child

    def sources(self) -> Iterator[tuple[Key, TensorSource | Entry]]:
        """Yield the key and the source of every tensor to be forwarded; only the entry if the tensor is unchanged."""
        for key, leaf in self.leaves():
            if leaf.entry.same:
                yield key, leaf.entry
            elif leaf.local is not None:
                yield key, ArraySource(leaf.local)
            else:
                yield key, RemoteSource(self._lease.offer, leaf.index, leaf.entry)

    def materialize(self, memory: TensorMemory | None = None, spill: Path | None = None) -> dict[str, Any]:
        """Fetch everything into new memory; nested mappings become dicts.

        Args:
            memory: holds tensors that need not be fetched; the digests of all tensors are recorded in it.
            spill: a file to receive the tensors into; the arrays are mapped from it.
        """
        leaves = dict(self.leaves())
        empty: Callable[[Entry], Array] = Entry.empty
        if spill is not None:
            memory = None  # the next model will overwrite the file
            empty = SpillFile(spill, [leaf.entry for leaf in leaves.values() if leaf.local is None]).empty
        if memory is not None:
            for key, leaf in leaves.items():
                held = memory.take_held(leaf.entry)
                if held is not None:
                    leaves[key] = Leaf(leaf.index, leaf.entry, held)
            memory.forget_held()
        arrays = self._fetched(list(leaves.values()), memory, empty)
        return unflatten({key: next(arrays) for key in leaves})

    @property
    def nbytes(self) -> int:
        """Size of all tensors in bytes."""
        return sum(leaf.entry.nbytes for _, leaf in self.leaves())

    def arrays(self) -> Iterator[tuple[Key, Array]]:
        leaves = dict(self.leaves())
        yield from zip(leaves, self._fetched(list(leaves.values())), strict=True)

    def release(self) -> None:
        """Let the owner free its tensors; they cannot be read afterwards."""
        self._lease.release()

    def _check_open(self) -> None:
        if any(leaf.entry.same and leaf.local is None for _, leaf in self.leaves()):
            raise DownloadError(f"the params of {self._lease.owner} can only be forwarded here, not read")
        if self._lease.is_released:
            raise DownloadError(
                f"the params of {self._lease.owner} were released before they were read: those of a broadcast can be"
                " read until the next broadcast or the end of the round, and an aggregator that reads them after add()"
                " sets keeps_replies = True"
            )

    def _fetched(
        self,
        leaves: list[Leaf],
        memory: TensorMemory | None = None,
        empty: Callable[[Entry], Array] = Entry.empty,
    ) -> Iterator[Array]:
        """Yield the tensors in order, each in new memory."""
        self._check_open()
        arrays: dict[int, Array] = {}
        is_remote = any(leaf.local is None for leaf in leaves)
        fetched = fetch(self._lease.offer, _pieces_into(leaves, arrays, empty)) if is_remote else iter(())
        for leaf in leaves:
            entry = leaf.entry
            if leaf.local is not None:
                yield leaf.local.copy() if entry.same else leaf.local
                continue
            digests = []
            for offset in entry.offsets:
                piece = next(fetched)
                assert (piece.index, piece.offset) == (leaf.index, offset)
                digests.append(piece.digest)
            if memory is not None:
                memory.record_digests(entry.key, digests)
            yield arrays.pop(leaf.index)


class _Lease:
    """The right to read params, until it is released."""

    def __init__(self, offered: RemoteOffer | None, owner: str) -> None:
        self._offered = offered
        self.owner = owner
        self.is_released = False

    @property
    def offer(self) -> RemoteOffer:
        """The offer from which tensors are fetched."""
        assert self._offered is not None, "all arrays came with the message"
        return self._offered

    def release(self) -> None:
        """Give it up, and let the owner free its tensors."""
        if not self.is_released:
            self.is_released = True
            if self._offered is not None:
                self._offered.release()


class _Items(ItemsView[str, Any]):
    _mapping: RemoteParams

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        children = self._mapping._children
        arrays = self._mapping._fetched([child for child in children.values() if isinstance(child, Leaf)])
        for name, child in children.items():
            yield name, child if isinstance(child, RemoteParams) else next(arrays)


def _local_of(entry: Entry, sent: Mapping[Key, Array] | None, owner: str) -> Array | None:
    if not entry.same or sent is None:
        return entry.inline
    array = sent.get(entry.key)
    if array is None or (dtype_name(array.dtype), array.shape) != (entry.dtype, entry.shape):
        raise DownloadError(
            f"{owner} says that it returns '{key_text(entry.key)}' ({entry.dtype}, {entry.shape}) unchanged, but"
            " no such tensor was sent to it"
        )
    return array


def _pieces_into(leaves: list[Leaf], arrays: dict[int, Array], empty: Callable[[Entry], Array]) -> Iterator[Piece]:
    """Yield ranges that are received straight into new arrays, which are stored in ``arrays`` by index."""
    for leaf in leaves:
        if leaf.local is None:
            array = arrays[leaf.index] = empty(leaf.entry)
            view = array.reshape(-1).view(np.uint8).data
            for offset in leaf.entry.offsets:
                yield Piece(leaf.index, leaf.entry, offset, view[offset : offset + CHUNK_BYTES])


def _pieces_in_ring(leaves: list[Leaf]) -> Iterator[Piece]:
    """Yield ranges that are received into a ring of buffers: one is being read, the others are in flight."""
    ring: list[memoryview] = []
    number = 0
    for leaf in leaves:
        for offset in leaf.entry.offsets:
            if len(ring) <= WINDOW:
                ring.append(np.empty(CHUNK_BYTES, np.uint8).data)
            yield Piece(
                leaf.index,
                leaf.entry,
                offset,
                ring[number % (WINDOW + 1)][: min(CHUNK_BYTES, leaf.entry.nbytes - offset)],
            )
            number += 1


def _blocks_of(entry: Entry, fetched: Iterator[Piece]) -> Iterator[Array]:
    for _ in entry.offsets:
        yield np.frombuffer(next(fetched).target, dtype=np.uint8).view(entry.numpy_dtype)
