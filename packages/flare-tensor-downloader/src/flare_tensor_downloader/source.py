"""Where a tensor's bytes are: in an array of this process, or at another cell."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import xxhash

from flare_core.model import Key
from flare_fobs.dtypes import dtype_from_name, dtype_name

__all__ = [
    "CHUNK_BYTES",
    "ArraySource",
    "Entry",
    "FileSource",
    "TensorSource",
    "array_of",
    "digest_of",
    "digest_of_pieces",
    "offsets_of",
]

MOST_BYTES = 1 << 46  # of one tensor: no machine has that much memory
CHUNK_BYTES = 1 << 22

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def digest_of(data: Any) -> int:
    """XXH3 of some bytes, 64 bits: it finds accidents, not attackers; those are the link's concern."""
    return int(xxhash.xxh3_64_intdigest(data))


def offsets_of(size: int) -> range:
    """Where the ranges begin in which a tensor of ``size`` bytes is fetched."""
    return range(0, size, CHUNK_BYTES) or range(1)  # an empty tensor is one empty range


def digest_of_pieces(pieces: Iterable[int], dtype: str, shape: tuple[int, ...]) -> bytes:
    """The digest of a tensor, 128 bits, made from those of its ranges of ``CHUNK_BYTES`` each."""
    digest = xxhash.xxh3_128(f"{dtype}{shape}".encode())
    for piece in pieces:
        digest.update(piece.to_bytes(8, "little"))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of an offer: where its array is small, the array itself; else its description.

    Attributes:
        digest: of the values, if the receiver may have them already.
        same: the values are those of the model that is answered, so they need not be sent.
    """

    key: Key
    dtype: str
    shape: tuple[int, ...]
    inline: Array | None = None
    digest: bytes | None = None
    same: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of the tensor's array."""
        return dtype_from_name(self.dtype)

    @property
    def nbytes(self) -> int:
        """Size of the tensor's values in bytes."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)

    @property
    def offsets(self) -> range:
        """Where the ranges begin in which the tensor is fetched."""
        return offsets_of(self.nbytes)

    def empty(self) -> Array:
        """Memory for the tensor, not initialised."""
        return np.empty(self.shape, self.numpy_dtype)


def claimed(
    key: Any,
    dtype: Any,
    shape: Any,
    inline: Any = None,
    digest: Any = None,
    same: Any = False,
    *,
    max_bytes: int | None = None,
) -> Entry:
    """What somebody else says of a tensor, as an entry; arguments as for :class:`Entry`, of whatever type.

    It is looked at when it is used, so it must be of the right form here: a size times a text is a very long text.

    Args:
        max_bytes: a larger one is refused; None refuses only what no machine can hold.
    Raises:
        TypeError, ValueError: it is not; or it is too large.
    """
    names = key if isinstance(key, tuple) and key else (key,)
    is_well = (
        all(isinstance(name, str) for name in names)
        and isinstance(dtype, str)
        and all(type(length) is int and length >= 0 for length in shape)
        and isinstance(inline, np.ndarray | None)
        and isinstance(digest, bytes | None)
        and type(same) is bool
    )
    if not is_well:
        raise TypeError("an entry of an offer is of another form")
    entry = Entry(key, dtype, tuple(shape), inline, digest, same)
    allowed = MOST_BYTES if max_bytes is None else max_bytes
    if entry.nbytes > allowed:
        raise ValueError(f"it has {entry.nbytes} bytes, and {allowed} are allowed")
    return entry


class TensorSource(Protocol):
    """The bytes of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    def digest(self) -> bytes | None:
        """Return the digest of the whole, if it is known or can be made."""

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return a range of the bytes, and its digest; they stay valid until they have been sent."""


def array_of(source: TensorSource, entry: Entry) -> Array:
    """Return a tensor as an array: the one that lies here, or a new one."""
    if isinstance(source, ArraySource):
        return source.array
    array = entry.empty()
    view = array.reshape(-1).view(np.uint8).data
    for offset in entry.offsets:
        piece, _ = source.read(offset, CHUNK_BYTES)
        view[offset : offset + len(piece)] = piece
    return array


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

    def digest(self) -> bytes:
        """The digest of the whole; that of each range is kept for when it is fetched."""
        return digest_of_pieces(self.digests(), self.dtype, self.shape)

    def digests(self) -> list[int]:
        """The digests of the ranges in which the tensor is fetched."""
        return [self.read(offset, CHUNK_BYTES)[1] for offset in offsets_of(self.nbytes)]

    def has_digests(self, digests: Sequence[int]) -> bool:
        """Whether the ranges have these digests; found out range by range, up to the first that has not."""
        offsets = offsets_of(self.nbytes)
        return len(offsets) == len(digests) and all(
            self.read(offset, CHUNK_BYTES)[1] == digest for offset, digest in zip(offsets, digests, strict=True)
        )

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        length = min(length, self.nbytes - offset)
        piece = self._bytes[offset : offset + length]
        digest = self._digests.get((offset, length))
        if digest is None:  # one receiver pays for all
            digest = self._digests[(offset, length)] = digest_of(piece)
        return piece, digest


class FileSource:
    """A file's bytes, served range by range; the file must not change meanwhile.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.dtype, self.nbytes = "uint8", os.fstat(self._file.fileno()).st_size
        self.shape: tuple[int, ...] = (self.nbytes,)
        self._lock = threading.Lock()

    def digest(self) -> bytes | None:
        """It would take reading the file twice."""
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return a range of the bytes, and its digest."""
        piece = memoryview(bytearray(min(length, self.nbytes - offset)))
        with self._lock:
            self._file.seek(offset)
            filled = 0
            while filled < len(piece) and (count := self._file.readinto(piece[filled:])):
                filled += count
        return piece[:filled], digest_of(piece[:filled])  # too few, if somebody cut it; the receiver says so
