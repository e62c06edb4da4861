"""Where a tensor's bytes are: in an array of this process, or at another cell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import xxhash

from flare_core.model import Key
from flare_fobs.dtypes import dtype_from_name, dtype_name

__all__ = ["ArraySource", "Entry", "TensorSource", "digest_of"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def digest_of(data: Any) -> int:
    """XXH3 of some bytes, 64 bits: it finds accidents, not attackers; those are the link's concern."""
    return int(xxhash.xxh3_64_intdigest(data))


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of an offer: where its array is small, the array itself; else its description."""

    key: Key
    dtype: str
    shape: tuple[int, ...]
    inline: Array | None = None

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the tensor's array."""
        return dtype_from_name(self.dtype)

    @property
    def nbytes(self) -> int:
        """Size of the tensor's values in bytes."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)

    def empty(self) -> Array:
        """Memory for the tensor, not initialised."""
        return np.empty(self.shape, self.numpy_dtype)


class TensorSource(Protocol):
    """The bytes of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return a range of the bytes, and its digest; they stay valid until they have been sent."""


@dataclass(slots=True)
class ArraySource:
    """A tensor in this process's memory, served from where it lies."""

    array: Array
    dtype: str = field(init=False)
    shape: tuple[int, ...] = field(init=False)
    nbytes: int = field(init=False)
    _bytes: memoryview = field(init=False)
    _digests: dict[tuple[int, int], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.array.flags.c_contiguous:
            self.array = np.array(self.array, order="C", copy=True)
        self.dtype = dtype_name(self.array.dtype)
        self.shape = self.array.shape
        self.nbytes = self.array.nbytes
        self._bytes = self.array.reshape(-1).view(np.uint8).data

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        piece = self._bytes[offset : offset + length]
        digest = self._digests.get((offset, length))
        if digest is None:  # one receiver pays for all
            digest = self._digests[(offset, length)] = digest_of(piece)
        return piece, digest
