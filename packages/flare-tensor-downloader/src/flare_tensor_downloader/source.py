"""Entries of an offer, and sources of their bytes: an array, a file or another cell."""

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

MAX_TENSOR_BYTES = 1 << 46  # no machine has that much memory
CHUNK_BYTES = 1 << 22

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def digest_of(data: Any) -> int:
    """Return the XXH3 of some bytes, 64 bits, against accidental corruption; links protect against attackers."""
    return int(xxhash.xxh3_64_intdigest(data))


def offsets_of(size: int) -> range:
    """Return the offsets of the ranges in which a tensor of ``size`` bytes is fetched."""
    return range(0, size, CHUNK_BYTES) or range(1)  # an empty tensor is one empty range


def digest_of_pieces(pieces: Iterable[int], dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the digest of a tensor, 128 bits, computed from those of its ranges of ``CHUNK_BYTES`` each."""
    digest = xxhash.xxh3_128(f"{dtype}{shape}".encode())
    for piece in pieces:
        digest.update(piece.to_bytes(8, "little"))
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of an offer: its description, and its array if that is small.

    Attributes:
        digest: of the values, if the receiver may already have them.
        same: the values are those of the model that is answered, so they are not sent.
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
        """Size of the values in bytes."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)

    @property
    def offsets(self) -> range:
        """Offsets of the ranges in which the tensor is fetched."""
        return offsets_of(self.nbytes)

    def empty(self) -> Array:
        """Return an uninitialised array for the tensor."""
        return np.empty(self.shape, self.numpy_dtype)


def checked_entry(
    key: Any,
    dtype: Any,
    shape: Any,
    inline: Any = None,
    digest: Any = None,
    same: Any = False,
    *,
    max_bytes: int | None = None,
) -> Entry:
    """Return an entry made of untrusted values; the arguments are those of :class:`Entry`, of any type.

    Args:
        max_bytes: refuse a larger tensor; None refuses only sizes that no machine has memory for.
    Raises:
        TypeError, ValueError: a value has the wrong type, or the tensor is too large.
    """
    names = key if isinstance(key, tuple) and key else (key,)
    is_valid = (
        all(isinstance(name, str) for name in names)
        and isinstance(dtype, str)
        and all(type(length) is int and length >= 0 for length in shape)
        and isinstance(inline, np.ndarray | None)
        and isinstance(digest, bytes | None)
        and type(same) is bool
    )
    if not is_valid:
        raise TypeError("an entry of an offer has a field of the wrong type")
    entry = Entry(key, dtype, tuple(shape), inline, digest, same)
    allowed = MAX_TENSOR_BYTES if max_bytes is None else max_bytes
    if entry.nbytes > allowed:
        raise ValueError(f"it has {entry.nbytes} bytes, and {allowed} are allowed")
    return entry


class TensorSource(Protocol):
    """Source of the bytes of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    def digest(self) -> bytes | None:
        """Return the digest of the tensor, or None if that is unknown."""

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return a range of the bytes and its digest; the bytes stay valid until they have been sent."""


def array_of(source: TensorSource, entry: Entry) -> Array:
    """Return a tensor as an array: that of an :class:`ArraySource`, or a new one."""
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
    """An array of this process, served without copying it."""

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
        """Return the digest of the tensor; the digests of its ranges are kept for when they are fetched."""
        return digest_of_pieces(self.digests(), self.dtype, self.shape)

    def digests(self) -> list[int]:
        """Return the digests of the ranges in which the tensor is fetched."""
        return [self.read(offset, CHUNK_BYTES)[1] for offset in offsets_of(self.nbytes)]

    def has_digests(self, digests: Sequence[int]) -> bool:
        """Return whether the ranges have these digests; stops at the first one that does not."""
        offsets = offsets_of(self.nbytes)
        return len(offsets) == len(digests) and all(
            self.read(offset, CHUNK_BYTES)[1] == digest for offset, digest in zip(offsets, digests, strict=True)
        )

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        length = min(length, self.nbytes - offset)
        piece = self._bytes[offset : offset + length]
        digest = self._digests.get((offset, length))
        if digest is None:  # computed once for all receivers
            digest = self._digests[(offset, length)] = digest_of(piece)
        return piece, digest


class FileSource:
    """A file, served range by range; it must not change meanwhile.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.dtype, self.nbytes = "uint8", os.fstat(self._file.fileno()).st_size
        self.shape: tuple[int, ...] = (self.nbytes,)
        self._lock = threading.Lock()

    def digest(self) -> bytes | None:
        """Return None: computing it would mean reading the file twice."""
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def read(self, offset: int, length: int) -> tuple[memoryview, int]:
        """Return a range of the bytes and its digest."""
        with self._lock:
            self._file.seek(offset)
            piece = memoryview(self._file.read(min(length, self.nbytes - offset)))
        return piece, digest_of(piece)  # too short if the file was truncated, which the receiver reports
