"""What one end of an exchange of models remembers of the last one, so that equal tensors need not travel again.

A site that is sent a model notes the digest of each tensor. Of those that it sends back with the same digest, only that
much is sent: the server takes its own. And it keeps hold of them, as far as the script does not change them, so that
the server need not send them again either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from flare_core.model import Key
from flare_tensor_downloader.source import ArraySource, Entry, TensorSource, digest_of_pieces

__all__ = ["TensorMemory"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class TensorMemory:
    """The tensors that a site received, and those that it holds."""

    def __init__(self) -> None:
        self._received: dict[Key, Sequence[int]] = {}  # digests of ranges
        self._held: dict[Key, Array] = {}

    def begin(self) -> None:
        """Forget the digests of the model received last: another one comes."""
        self._received = {}

    def note_received(self, key: Key, digests: Sequence[int]) -> None:
        """Note the digests of a tensor's ranges that were received."""
        self._received[key] = digests

    def take_held(self, entry: Entry) -> Array | None:
        """Return a copy of the tensor that an entry describes, if it is held and unchanged; each once."""
        held = self._held.pop(entry.key, None)
        if held is None or entry.digest is None:
            return None
        array = held.copy()  # before it is checked: the script may have kept the tensor, and change it at any time
        del held
        digests = ArraySource(array).digests()
        if digest_of_pieces(digests, entry.dtype, entry.shape) != entry.digest:
            return None
        self.note_received(entry.key, digests)
        return array

    def is_same(self, key: Key, source: TensorSource) -> bool:
        """Whether a tensor to be sent is what was received under its key; if so, it is held."""
        received = self._received.get(key)
        if received is None or not isinstance(source, ArraySource) or not source.has_digests(received):
            return False
        self._held[key] = source.array
        return True

    def forget_held(self) -> None:
        """Let go of the tensors."""
        self._held = {}
