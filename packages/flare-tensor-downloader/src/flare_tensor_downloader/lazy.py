"""Lazy params: a mapping whose arrays are fetched when they are read, and not kept."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from flare_core import unflatten
from flare_core.model import Key, key_text
from flare_core.tensor_blocks import TensorBlocks
from flare_fobs.dtypes import dtype_name
from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import CHUNK_BYTES, WINDOW, Offered, Piece, fetch
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.source import ArraySource, Entry, TensorSource, digest_of
from flare_tensor_downloader.spill import SpillFile

__all__ = ["LazyParams", "RemoteSource"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class RemoteSource:
    """A tensor at another cell, passed on range by range without being held here."""

    def __init__(self, offered: Offered, index: int, entry: Entry) -> None:
        self._offered = offered
        self._index = index
        self._entry = entry
        self.dtype, self.shape, self.nbytes = entry.dtype, entry.shape, entry.nbytes

    def digest(self) -> bytes | None:
        """The digest of the whole, if its owner has told it."""
        return self._entry.digest

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Fetch a range, together with the digest that its owner made.

        Raises:
            DownloadError: the owner sent another number of bytes.
        """
        piece = memoryview(bytearray(length))
        message = self._offered.ask(self._index, offset, piece).result(self._offered.timeout_s)
        if len(message.body) != length:
            raise DownloadError(f"{self._offered.owner} sent {len(message.body)} bytes where {length} were asked for")
        return piece, (message.extra or {}).get("digest", digest_of(piece))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One tensor and its place in the offer; its array, if it is at hand."""

    index: int
    entry: Entry
    at_hand: Array | None = None


class LazyParams(Mapping[str, Any]):
    """Name to array, where an array is fetched when it is read. Nested mappings are as they were offered.

    ``items()`` fetches ahead; :meth:`blocks` needs no more memory than a few ranges, however large the tensors are.

    Args:
        offered: where they can be fetched.
        entries: what is offered.
        sent: by key, the tensors of the model that these params answer; None if they are only passed on.
    Raises:
        DownloadError: an entry claims to be the same as a tensor that was not sent, or was another.
    """

    def __init__(self, offered: Offered, entries: list[Entry], sent: Mapping[Key, Array] | None = None) -> None:
        leaves = {
            entry.key: Leaf(index, entry, _at_hand(entry, sent, offered.owner)) for index, entry in enumerate(entries)
        }
        self._start(offered, unflatten(leaves))

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
        """Every tensor's key, and its values block by block, which can be read until the next is taken.

        What is not read of a tensor is passed over.
        """
        self._check_open()
        leaves = list(self.leaves())
        remote = [leaf for _, leaf in leaves if leaf.at_hand is None]
        fetched = fetch(self._offered, _pieces_in_ring(remote))
        for key, leaf in leaves:
            if leaf.at_hand is not None:
                blocks = TensorBlocks.of(leaf.at_hand)
                blocks.unchanged = leaf.at_hand if leaf.entry.same else None
                yield key, blocks
            else:
                values = _blocks_of(leaf.entry, fetched)
                yield key, TensorBlocks(leaf.entry.numpy_dtype, leaf.entry.shape, values)
                for _ in values:  # not read, as of a tensor that is excluded: the next must not begin with them
                    pass

    def leaves(self) -> Iterator[tuple[Key, Leaf]]:
        """Every tensor's key and description, without fetching it."""
        for name, child in self._children.items():
            if isinstance(child, LazyParams):
                for key, leaf in child.leaves():
                    yield (name, *((key,) if isinstance(key, str) else key)), leaf
            else:
                yield name, child

    def sources(self) -> Iterator[tuple[Key, TensorSource | Entry]]:
        """Every tensor's key and source, for passing it on without holding it; an entry if it need not be passed on."""
        for key, leaf in self.leaves():
            if leaf.entry.same:
                yield key, leaf.entry
            elif leaf.at_hand is not None:
                yield key, ArraySource(leaf.at_hand)
            else:
                yield key, RemoteSource(self._offered, leaf.index, leaf.entry)

    def materialize(self, memory: TensorMemory | None = None, spill: Path | None = None) -> dict[str, Any]:
        """Fetch everything into memory of its own; nested mappings become dicts.

        Args:
            memory: where to look for tensors that are there already, and to note the digests of the others.
            spill: a file to receive the tensors into, instead of memory; the arrays lie in it.
        """
        leaves = dict(self.leaves())
        empty = Entry.empty
        if spill is not None:
            memory = None  # what lies in the file is overwritten by the next model
            empty = SpillFile(spill, [leaf.entry for leaf in leaves.values() if leaf.at_hand is None]).empty
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

    def fetched(self) -> Iterator[tuple[Key, Array]]:
        """Every tensor's key and array, one after the other."""
        leaves = dict(self.leaves())
        yield from zip(leaves, self._fetched(list(leaves.values())), strict=True)

    def keep(self) -> None:
        """Have the params stay readable after the next reply was taken, until the round is over."""
        self.kept = True

    def release(self) -> None:
        """Let the owner drop its tensors; they cannot be read any more."""
        if not self._released:
            self._released = True
            self._offered.release()

    def _check_open(self) -> None:
        if any(leaf.entry.same and leaf.at_hand is None for _, leaf in self.leaves()):
            raise DownloadError(f"the params of {self._offered.owner} can only be passed on here, not read")
        if self._released:
            raise DownloadError(
                f"the params of {self._offered.owner} were released when the next reply was taken; read them before, or"
                " call reply.model.params.keep()"
            )

    def _fetched(
        self,
        leaves: list[Leaf],
        memory: TensorMemory | None = None,
        empty: Callable[[Entry], Array] = Entry.empty,
    ) -> Iterator[Array]:
        """The tensors, each in memory of its own, in order."""
        self._check_open()
        arrays: dict[int, Array] = {}
        fetched = fetch(self._offered, _pieces_into(leaves, arrays, empty))
        for leaf in leaves:
            entry = leaf.entry
            if leaf.at_hand is not None:
                yield leaf.at_hand.copy() if entry.same else leaf.at_hand
                continue
            digests = []
            for offset in entry.offsets:
                piece = next(fetched)
                assert (piece.index, piece.offset) == (leaf.index, offset)
                digests.append(piece.digest)
            if memory is not None:
                memory.note_received(entry.key, digests)
            yield arrays.pop(leaf.index)


class _Items(ItemsView[str, Any]):
    _mapping: LazyParams

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        children = self._mapping._children
        arrays = self._mapping._fetched([child for child in children.values() if isinstance(child, Leaf)])
        for name, child in children.items():
            yield name, child if isinstance(child, LazyParams) else next(arrays)


def _at_hand(entry: Entry, sent: Mapping[Key, Array] | None, owner: str) -> Array | None:
    if not entry.same or sent is None:
        return entry.inline
    array = sent.get(entry.key)
    if array is None or (dtype_name(array.dtype), array.shape) != (entry.dtype, entry.shape):
        raise DownloadError(
            f"{owner} claims to have sent back '{key_text(entry.key)}' ({entry.dtype}, {entry.shape}) unchanged, but it"
            " was sent no such tensor"
        )
    return array


def _pieces_into(leaves: list[Leaf], arrays: dict[int, Array], empty: Callable[[Entry], Array]) -> Iterator[Piece]:
    """Ranges that are received straight into the tensors' own arrays, which are left in ``arrays``."""
    for leaf in leaves:
        if leaf.at_hand is None:
            array = arrays[leaf.index] = empty(leaf.entry)
            view = array.reshape(-1).view(np.uint8).data
            for offset in leaf.entry.offsets:
                yield Piece(leaf.index, leaf.entry, offset, view[offset : offset + CHUNK_BYTES])


def _pieces_in_ring(leaves: list[Leaf]) -> Iterator[Piece]:
    """Ranges that are received into a few buffers in turn: one in the reader's hands, the others under way."""
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
