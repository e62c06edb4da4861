"""How many distinct values a column has, from keyed hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from flare_stats.algebra.categories import as_text
from flare_stats.algebra.fields import AlgebraError, array_field, field
from flare_stats.algebra.numbers import Numbers, to_numbers, unwrapped
from flare_stats.algebra.siphash import siphash

Hashes = npt.NDArray[np.uint64]
NUMERIC = ("int", "float", "bool", "datetime")


class Distinct:
    """The number of distinct values of a column: exact up to `size`, within :attr:`relative_error` beyond.

    Keeps the `size` smallest 64-bit hashes of the values. The hashes are keyed: whoever does not know the key cannot
    try whether a value that is guessed is among them. So the sites must share a key that the server does not know.

    Equal numbers are one value, whether integers or floats. Hashing works on whole chunks, where the sketches of
    Apache DataSketches take one value at a time from Python, about five times as slow.

    Source: Bar-Yossef et al. 2002, "Counting distinct elements in a data stream", algorithm 2; the unbiased estimate
    ``(size - 1) / largest`` is that of Beyer et al. 2007, "On synopses for distinct-value estimation under multiset
    operations". Numbers are hashed by SipHash-2-4, texts by BLAKE2b.

    Args:
        key: at least 16 bytes; the same at all sites of a run, and another in each run.
        size: how many hashes are kept; with 4,096 the standard error is 1.6 %.

    Raises:
        AlgebraError: the key is too short, or the size below 16.
    """

    def __init__(self, key: bytes, size: int = 4096) -> None:
        if len(key) < 16:
            raise AlgebraError(f"the key of a distinct count has {len(key)} bytes; give at least 16")
        self._key = hashlib.sha256(key).digest()
        self._start(size)

    def _start(self, size: int) -> None:
        if size < 16:
            raise AlgebraError(f"a distinct count cannot be estimated from {size} hashes; allow at least 16")
        self.size = size
        self.hashes: Hashes = np.empty(0, np.uint64)

    @property
    def estimate(self) -> int:
        """How many distinct values there are."""
        if len(self.hashes) < self.size:
            return len(self.hashes)
        return round((self.size - 1) / ((int(self.hashes[-1]) + 1) / 2**64))

    @property
    def relative_error(self) -> float:
        """The standard error of the estimate, relative to it; 0 while it is exact."""
        return 0.0 if len(self.hashes) < self.size else (self.size - 2) ** -0.5

    def add(self, column: Any, kind: str = "float") -> None:
        """Add a part of the column; missing values and failures are no values.

        Args:
            column: an Arrow array, a NumPy array or :class:`Numbers`.
            kind: the column's kind: values of ``"text"``, ``"category"`` and the like are compared as text.
        """
        if isinstance(column, Numbers) or kind in NUMERIC:
            self._keep(siphash(_bits(to_numbers(column, kind).values), self._key[:16]))
        else:
            texts = [text for text in as_text(pc.unique(unwrapped(column))) if text is not None]
            digests = [hashlib.blake2b(text.encode(), digest_size=8, key=self._key).digest() for text in texts]
            self._keep(np.frombuffer(b"".join(digests), np.dtype("<u8")))

    def merge(self, other: Distinct) -> None:
        """Add what another one has seen with the same key.

        Raises:
            AlgebraError: it keeps another number of hashes.
        """
        if other.size != self.size:
            raise AlgebraError(f"distinct counts of {self.size} and of {other.size} hashes do not merge")
        self._keep(other.hashes)

    def _keep(self, hashes: Hashes) -> None:
        if len(self.hashes) == self.size:
            hashes = hashes[hashes < self.hashes[-1]]
        if len(hashes):
            self.hashes = np.unique(np.concatenate([self.hashes, hashes]))[: self.size]

    def to_data(self) -> dict[str, Any]:
        """Return the hashes as plain data, without the key."""
        return {"size": self.size, "hashes": self.hashes}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned; without the key it merges, but takes no values.

        Raises:
            AlgebraError: names the entry that is missing or unusable.
        """
        distinct = cls.__new__(cls)
        distinct._start(field(data, "size", int, least=16))
        hashes = np.unique(array_field(data, "hashes", np.uint64, (None,)))
        if len(hashes) > distinct.size:
            raise AlgebraError(f"'hashes' of partial statistics holds {len(hashes)}, at most {distinct.size} are kept")
        distinct.hashes = hashes
        return distinct


def _bits(values: npt.NDArray[Any]) -> Hashes:
    """64 bits for each number, equal for equal numbers of any type: a float's up to 2**53, an integer's beyond."""
    if values.dtype.kind == "f":
        bits = (values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
        for low, high, dtype in ((-(2.0**63), -(2.0**53), np.int64), (2.0**53, 2.0**64, np.uint64)):
            large = (values >= low) & (values < high)
            if large.any():
                bits[large] = values[large].astype(dtype).view(np.uint64)
        return bits
    floats = values.astype(np.float64)
    return np.where(np.abs(floats) < 2.0**53, floats.view(np.uint64), values.view(np.uint64))
