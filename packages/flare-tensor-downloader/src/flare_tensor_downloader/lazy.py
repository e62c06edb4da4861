"""Lazy params: a mapping whose arrays are fetched when they are read, and not kept."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from flare_core import unflatten
from flare_core.aggregation import TensorBlocks
from flare_core.model import Key
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import CHUNK_BYTES, WINDOW, Offered, Piece, fetch
from flare_tensor_downloader.source import ArraySource, Entry, TensorSource, digest_of

__all__ = ["LazyParams", "RemoteSource"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class RemoteSource:
    """A tensor at another cell, passed on range by range without being held here."""

    def __init__(self, offered: Offered, index: int, entry: Entry) -> None:
        self._offered = offered
        self._index = index
        self.dtype, self.shape, self.nbytes = entry.dtype, entry.shape, entry.nbytes

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Fetch a range, together with the digest that its owner made."""
        piece = memoryview(bytearray(length))
        message = self._offered.ask(self._index, offset, piece).result(self._offered.timeout_s)
        if len(message.body) != length:
            raise DownloadError(f"{self._offered.owner} sent {len(message.body)} bytes where {length} were asked for")
        return piece, (message.extra or {}).get("digest", digest_of(piece))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor and its place in the offer."""

    index: int
    entry: Entry


class LazyParams(Mapping[str, Any]):
    """Name to array, where an array is fetched when it is read. Nested mappings are as they were offered.

    ``items()`` fetches ahead; :meth:`blocks` needs no more memory than a few ranges, however large the tensors are.
    """

    def __init__(self, offered: Offered, entries: list[Entry]) -> None:
        self._start(offered, unflatten({entry.key: Leaf(index, entry) for index, entry in enumerate(entries)}))

    def _start(self, offered: Offered, tree: dict[str, Any]) -> None:
        self._offered = offered
        self._children: dict[str, Leaf | LazyParams] = {}
        self._released = False
        self.kept = False
        for name, value in tree.items():
            if isinstance(value, dict):
                child = LazyParams.__new__(LazyParams)
                child._start(offered, value)
                self._children[name] = child
            else:
                self._children[name] = value

    def __getitem__(self, name: str) -> Any:
        child = self._children[name]
        if isinstance(child, LazyParams):
            return child
        (array,) = self._fetched([child])
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def items(self) -> _Items:
        """Name and array, fetched ahead."""
        return _Items(self)

    def blocks(self) -> Iterator[tuple[Key, TensorBlocks]]:
        """Every tensor's key, and its values block by block; read each tensor's blocks before taking the next."""
        self._check_open()
        leaves = list(self.leaves())
        remote = [leaf for _, leaf in leaves if leaf.entry.inline is None]
        fetched = fetch(self._offered, _pieces_in_ring(remote))
        for key, leaf in leaves:
            if leaf.entry.inline is not None:
                yield key, TensorBlocks.of(leaf.entry.inline)
            else:
                yield key, TensorBlocks(leaf.entry.numpy_dtype, leaf.entry.shape, _blocks_of(leaf.entry, fetched))

    def leaves(self) -> Iterator[tuple[Key, Leaf]]:
        """Every tensor's key and description, without fetching it."""
        for name, child in self._children.items():
            if isinstance(child, LazyParams):
                for key, leaf in child.leaves():
                    yield (name, *((key,) if isinstance(key, str) else key)), leaf
            else:
                yield name, child

    def sources(self) -> Iterator[tuple[Key, TensorSource]]:
        """Every tensor's key and source, for passing it on without holding it."""
        for key, leaf in self.leaves():
            inline = leaf.entry.inline
            yield (
                key,
                ArraySource(inline) if inline is not None else RemoteSource(self._offered, leaf.index, leaf.entry),
            )

    def materialize(self) -> dict[str, Any]:
        """Fetch everything into fresh memory; nested mappings become dicts."""
        leaves = list(self.leaves())
        arrays = self._fetched([leaf for _, leaf in leaves])
        return unflatten({key: next(arrays) for key, _ in leaves})

    def keep(self) -> None:
        """Have the params stay readable after the next reply was taken, until the round is over."""
        self.kept = True

    def release(self) -> None:
        """Let the owner drop its tensors; they cannot be read any more."""
        if not self._released:
            self._released = True
            self._offered.release()

    def _check_open(self) -> None:
        if self._released:
            raise DownloadError(
                f"the params of {self._offered.owner} were released when the next reply was taken; read them before, or"
                " call reply.model.params.keep()"
            )

    def _fetched(self, leaves: list[Leaf]) -> Iterator[Array]:
        """The tensors, each in memory of its own, in order."""
        self._check_open()
        arrays: dict[int, Array] = {}
        fetched = fetch(self._offered, _pieces_into(leaves, arrays))
        for leaf in leaves:
            if leaf.entry.inline is not None:
                yield leaf.entry.inline
                continue
            for offset in _offsets(leaf.entry):
                piece = next(fetched)
                assert (piece.index, piece.offset) == (leaf.index, offset)
            yield arrays.pop(leaf.index)


class _Items(ItemsView[str, Any]):
    _mapping: LazyParams

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        children = self._mapping._children
        arrays = self._mapping._fetched([child for child in children.values() if isinstance(child, Leaf)])
        for name, child in children.items():
            yield name, child if isinstance(child, LazyParams) else next(arrays)


def _offsets(entry: Entry) -> range:
    return range(0, entry.nbytes, CHUNK_BYTES) or range(1)  # an empty tensor is one empty range


def _pieces_into(leaves: list[Leaf], arrays: dict[int, Array]) -> Iterator[Piece]:
    """Ranges that are received straight into the tensors' own arrays, which are left in ``arrays``."""
    for leaf in leaves:
        if leaf.entry.inline is None:
            array = arrays[leaf.index] = leaf.entry.empty()
            view = array.reshape(-1).view(np.uint8).data
            for offset in _offsets(leaf.entry):
                yield Piece(leaf.index, leaf.entry, offset, view[offset : offset + CHUNK_BYTES])


def _pieces_in_ring(leaves: list[Leaf]) -> Iterator[Piece]:
    """Ranges that are received into a few buffers in turn: one in the reader's hands, the others under way."""
    ring: list[memoryview] = []
    number = 0
    for leaf in leaves:
        for offset in _offsets(leaf.entry):
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
    for _ in _offsets(entry):
        yield np.frombuffer(next(fetched).target, dtype=np.uint8).view(entry.numpy_dtype)
