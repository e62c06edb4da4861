"""Lazy params: a mapping whose arrays are fetched when they are read, and not kept."""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from flare_core.model import Key, unflatten

from flare_tensor_downloader.errors import DownloadError
from flare_tensor_downloader.fetch import Offered, fetch
from flare_tensor_downloader.source import ArraySource, Entry, TensorSource, digest_of

__all__ = ["LazyParams", "RemoteSource"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_BUFFERS = 6  # one in the reader's hands, the rest in the window of ranges under way


class RemoteSource:
    """A tensor at another cell, passed on range by range without being held here."""

    def __init__(self, offered: Offered, index: int, entry: Entry) -> None:
        self._offered = offered
        self._index = index
        self.dtype, self.shape, self.nbytes = entry.dtype, entry.shape, entry.nbytes

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        piece = memoryview(bytearray(length))
        message = self._offered.ask(self._index, offset, piece).result(self._offered.timeout_s)
        if len(message.body) != length:
            raise DownloadError(f"{self._offered.owner} sent {len(message.body)} bytes where {length} were asked for")
        return piece, (message.extra or {}).get("digest", digest_of(piece))


class _Buffers:
    """Memory that is used again once nobody else holds it: fresh pages for every tensor would cost as much as the
    transfer itself."""

    def __init__(self) -> None:
        self._free: list[Array] = []

    def array_for(self, entry: Entry) -> Array:
        size = entry.nbytes
        for index, buffer in enumerate(self._free):
            if len(buffer) >= size and sys.getrefcount(buffer) <= 3:  # the list, the loop's name and the argument
                break
        else:
            if len(self._free) >= MAX_BUFFERS:
                del self._free[0]
            self._free.append(np.empty(size, np.uint8))
            index = len(self._free) - 1
        return self._free[index][:size].view(entry.numpy_dtype).reshape(entry.shape)


@dataclass(frozen=True, slots=True)
class _Leaf:
    index: int
    entry: Entry


class LazyParams(Mapping[str, Any]):
    """Name to array, where an array is fetched when it is read. Nested mappings are as they were offered.

    Reading all of it with ``items()`` fetches ahead; each array is the reader's own until it is dropped, whereupon its
    memory is used for a later one.
    """

    def __init__(self, offered: Offered, entries: list[Entry]) -> None:
        tree: dict[str, Any] = unflatten({entry.key: _Leaf(index, entry) for index, entry in enumerate(entries)})
        self._start(offered, tree, _Buffers())

    def _start(self, offered: Offered, tree: dict[str, Any], buffers: _Buffers) -> None:
        self._offered = offered
        self._buffers = buffers
        self._children: dict[str, _Leaf | LazyParams] = {}
        self._released = False
        self.kept = False
        for name, value in tree.items():
            if isinstance(value, dict):
                child = LazyParams.__new__(LazyParams)
                child._start(offered, value, buffers)
                self._children[name] = child
            else:
                self._children[name] = value

    def __getitem__(self, name: str) -> Any:
        child = self._children[name]
        if isinstance(child, LazyParams):
            return child
        if child.entry.inline is not None:
            return child.entry.inline
        self._check_open()
        (array,) = fetch(self._offered, [(child.index, child.entry, child.entry.empty())])
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._children)

    def __len__(self) -> int:
        return len(self._children)

    def items(self) -> _Items:
        """Name and array, fetched ahead."""
        return _Items(self)

    def leaves(self) -> Iterator[tuple[Key, _Leaf]]:
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
        self._check_open()
        leaves = list(self.leaves())
        remote = [leaf for _, leaf in leaves if leaf.entry.inline is None]
        fetched = fetch(self._offered, ((leaf.index, leaf.entry, leaf.entry.empty()) for leaf in remote))
        return unflatten(
            {key: next(fetched) if leaf.entry.inline is None else leaf.entry.inline for key, leaf in leaves}
        )

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

    def _iterate(self) -> Iterator[tuple[str, Any]]:
        self._check_open()
        remote = [each for each in self._children.values() if isinstance(each, _Leaf) and each.entry.inline is None]
        fetched = fetch(
            self._offered, ((leaf.index, leaf.entry, self._buffers.array_for(leaf.entry)) for leaf in remote)
        )
        for name, child in self._children.items():
            if isinstance(child, LazyParams):
                yield name, child
            elif child.entry.inline is not None:
                yield name, child.entry.inline
            else:
                yield name, next(fetched)


class _Items(ItemsView[str, Any]):
    _mapping: LazyParams

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping._iterate()
