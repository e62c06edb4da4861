"""Items: the ids of a site in files, in a secret order, so that memory is bounded and a killed site finds them again.

In the folder, all readable by this user alone:

    keys.bin      the keys of all rows, one after the other: each part is preceded by its length, 4 bytes, big-endian
    index.npz     of each distinct key, in the order of its first row: where it begins and ends in keys.bin, its first
                  row in the source (from 0), and how many rows have it; and how many rows the source has, and how many
                  were left out
    order.npy     a random order of the distinct keys and of as many random ones as the size is padded with
    padding.bin   32 random bytes for each of those
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from flare_psi.errors import PSIError
from flare_psi.ids.normalisation import Normalisation

_LENGTH_BYTES = 4
_DIGEST_BYTES = 16
_PADDING_BYTES = 32
_WRITE_BYTES = 1 << 20
_ENDED = "index.npz"


@dataclass(frozen=True)
class Items:
    """The distinct keys of a site, and random ones that pad their number, in a random order.

    Attributes:
        folder: their files.
        starts, ends: int64 [n], of the distinct keys.
        first_rows, counts: int64 [n].
        order: int64 [m], in which a number from n on is a random key.
        rows: number of rows that were read.
        left_out: how many of them had no id, or one that a rule refused.
    """

    folder: Path
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first_rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    order: NDArray[np.int64]
    rows: int
    left_out: int

    @classmethod
    def write(
        cls,
        folder: Path,
        items: Iterable[str | Sequence[str]],
        *,
        columns: Sequence[str],
        normalisation: Normalisation,
        pad_to: int | None = None,
    ) -> Items:
        """Read a site's ids into files.

        Args:
            folder: where, which exists.
            items: one for each row.
            columns: the names of the parts of a key.
            normalisation: applied to each.
            pad_to: make the number of keys a multiple of this.
        Raises:
            PSIError: an id is no text, or has another number of parts; names the row. Or there are rows, but none of
                them has an id that can be used; names the columns and rules.
        """
        keys = _written(folder, items, columns, normalisation)
        if keys.causes and not keys.lengths:
            raise PSIError(_none_usable(keys.causes, columns, is_told=pad_to is None))
        named = np.frombuffer(keys.digests, f"S{_DIGEST_BYTES}")
        _, first, counts = np.unique(named, return_index=True, return_counts=True)
        by_row = np.argsort(first)
        first, counts = first[by_row], counts[by_row]
        lengths = np.frombuffer(keys.lengths, np.int64)
        ends = np.cumsum(lengths, dtype=np.int64)
        size = len(first) if pad_to is None else max(1, -(-len(first) // pad_to)) * pad_to
        with open_private(folder / "padding.bin") as file:
            file.write(secrets.token_bytes(_PADDING_BYTES * (size - len(first))))
        with open_private(folder / "order.npy") as file:
            np.save(file, np.argsort(np.frombuffer(secrets.token_bytes(8 * size), np.uint64)).astype(np.int64))
        new = folder / (_ENDED + ".new")
        with open_private(new) as file:
            np.savez(
                file,
                starts=(ends - lengths)[first],
                ends=ends[first],
                counts=counts,
                first_rows=np.frombuffer(keys.rows, np.int64)[first],
                of_source=np.array([keys.read, keys.read - len(lengths)]),
            )
        new.rename(folder / _ENDED)
        return cls.open(folder)

    @classmethod
    def are_in(cls, folder: Path) -> bool:
        """Return True if :meth:`write` has ended in this folder."""
        return (folder / _ENDED).is_file()

    @classmethod
    def open(cls, folder: Path) -> Items:
        """Open the files of a folder."""
        with np.load(folder / _ENDED) as index:
            rows, left_out = index["of_source"].tolist()
            arrays = {name: index[name].astype(np.int64) for name in ("starts", "ends", "first_rows", "counts")}
        return cls(folder, **arrays, order=np.load(folder / "order.npy"), rows=rows, left_out=left_out)

    @property
    def distinct(self) -> int:
        """Number of distinct keys."""
        return len(self.starts)

    def __len__(self) -> int:
        """Return the number of keys, random ones included."""
        return len(self.order)

    def keys(self, places: Iterable[int]) -> list[bytes]:
        """Return the encoded keys at some places of the secret order."""
        wanted = self.order[np.fromiter(places, np.int64)]
        keys, padding = _mapped(self.folder / "keys.bin"), _mapped(self.folder / "padding.bin")
        found = []
        for at in wanted.tolist():
            if at < self.distinct:
                found.append(keys[self.starts[at] : self.ends[at]])
            else:
                start = (at - self.distinct) * _PADDING_BYTES
                found.append(padding[start : start + _PADDING_BYTES])
        return found


@dataclass
class _Keys:
    """The keys of a source's rows, which lie in keys.bin.

    Attributes:
        digests: of each key, by which equal ones are found.
        lengths: of each key, in bytes.
        rows: of each key, its row in the source.
        causes: how many rows are left out, by part and rule.
        read: number of rows of the source.
    """

    digests: bytearray = field(default_factory=bytearray)
    lengths: array[int] = field(default_factory=lambda: array("q"))
    rows: array[int] = field(default_factory=lambda: array("q"))
    causes: Counter[tuple[int, str]] = field(default_factory=Counter)
    read: int = 0


def _written(
    folder: Path, items: Iterable[str | Sequence[str]], columns: Sequence[str], normalisation: Normalisation
) -> _Keys:
    """Write the keys of all rows into keys.bin."""
    keys = _Keys()
    hidden = secrets.token_bytes(32)  # so that nobody can prepare two ids with one digest
    with open_private(folder / "keys.bin") as file:
        pending = bytearray()
        for row, item in enumerate(items):
            keys.read += 1
            given = _checked(item, len(columns), row)
            key = normalisation.apply(given)
            if key is None:
                keys.causes[normalisation.cause(given)] += 1
                continue
            encoded = encode(key)
            keys.digests += hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES, key=hidden).digest()
            keys.lengths.append(len(encoded))
            keys.rows.append(row)
            pending += encoded
            if len(pending) >= _WRITE_BYTES:
                file.write(pending)
                pending.clear()
        file.write(pending)
    return keys


def encode(parts: Sequence[str]) -> bytes:
    """Return a key as bytes: each part in UTF-8, preceded by its length in bytes as 4 bytes, big-endian."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in encoded)


def decode(key: bytes) -> list[str]:
    """Return the parts of an encoded key."""
    parts, at = [], 0
    while at < len(key):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(key[at:start], "big")
        parts.append(key[start:at].decode("utf-8", "surrogatepass"))
    return parts


def open_private(path: Path) -> BinaryIO:
    """Open a new or emptied file for writing bytes, that only this user can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _checked(item: str | Sequence[str], parts: int, row: int) -> Sequence[str]:
    key = (item,) if isinstance(item, str) else item
    if not isinstance(key, tuple | list) or not all(isinstance(each, str) for each in key):
        raise PSIError(f"the id in row {row} is a {type(item).__name__}; give text, or a tuple of text")
    if len(key) != parts:
        raise PSIError(f"the id in row {row} has {len(key)} parts, not {parts}; give all keys the same columns")
    return key


def _none_usable(causes: Counter[tuple[int, str]], columns: Sequence[str], *, is_told: bool) -> str:
    """Return the reason why no row has an id; without numbers of rows if these are hidden by padding."""
    reasons = []
    for (part, rule), rows in sorted(causes.items()):
        number = f"{rows:,} " if is_told else ""
        problem = f"the rule {rule!r} refuses the value" if rule else "the value is empty"
        reasons.append(f"{number}where {problem} in column {columns[part]!r}")
    all_rows = f"all {causes.total():,} rows" if is_told else "all rows"
    return (
        f"no row has an id that can be used; {all_rows} are left out: {', '.join(reasons)}; give normalize rules that"
        " fit the values, or name another column"
    )


def _mapped(path: Path) -> mmap.mmap | bytes:
    """Map a file into memory for reading; an empty one cannot be mapped."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
