"""A site's memory of the last model, so that tensors that do not change are transferred once.

A site records the digest of each tensor that it receives. A tensor that it returns with the same digest is only marked
as unchanged, and the server uses its own. The site holds on to that tensor; if the digest of the server's next one is
still the same, it is not sent to the site again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from flare_core.model import Key
from flare_tensor_downloader.source import ArraySource, Entry, TensorSource, digest_of_pieces

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class TensorMemory:
    """The digests of the tensors that a site received last, and the unchanged tensors that it holds."""

    def __init__(self) -> None:
        self._received: dict[Key, Sequence[int]] = {}  # digests of ranges
        self._held: dict[Key, Array] = {}

    def begin(self) -> None:
        """Forget the digests of the last model, as the next one is about to be received."""
        self._received = {}

    def record_digests(self, key: Key, digests: Sequence[int]) -> None:
        """Record the digests of the ranges of a received tensor."""
        self._received[key] = digests

    def take_held(self, entry: Entry) -> Array | None:
        """Return a copy of the held tensor if its digest is that of ``entry``, else None; it is not held afterwards."""
        held = self._held.pop(entry.key, None)
        if held is None or entry.digest is None:
            return None
        array = held.copy()  # checked after copying, as the script may still change the tensor itself
        digests = ArraySource(array).digests()
        if digest_of_pieces(digests, entry.dtype, entry.shape) != entry.digest:
            return None
        self.record_digests(entry.key, digests)
        return array

    def is_same(self, key: Key, source: TensorSource) -> bool:
        """Return whether a tensor to be sent equals the one received under its key; if so, hold it."""
        received = self._received.get(key)
        if received is None or not isinstance(source, ArraySource) or not source.has_digests(received):
            return False
        self._held[key] = source.array
        return True

    def forget_held(self) -> None:
        """Free the held tensors."""
        self._held = {}
