"""How many distinct values a column has, from a sketch of keyed hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from datasketches import compact_theta_sketch, theta_union, update_theta_sketch

from flare_stats.algebra.categories import as_text, has_text
from flare_stats.algebra.fields import AlgebraError, field
from flare_stats.algebra.murmur import theta_hashes
from flare_stats.algebra.numbers import Numbers, to_numbers, unwrapped

NUMERIC = ("int", "float", "bool", "datetime")
PART = 4096  # numbers that are encrypted at once, so that they stay in the processor's cache
LG_SIZE = 12  # the binary logarithm of how many hashes are kept


class Distinct:
    """The number of distinct values of a column: exact up to 4,096, within :attr:`relative_error` beyond.

    Keeps a theta sketch of the values' pseudonyms, which are keyed: whoever does not know the key cannot try whether a
    value that is guessed is among them. So the sites must share a key that the server does not know. The pseudonym of a
    number is its block under AES, that of a text its BLAKE2b hash. Equal numbers are one value, whether integers or
    floats.

    Source: Dasgupta, Lang, Rhodes and Thaler 2016, "A framework for estimating stream expression cardinalities", as
    implemented by Apache DataSketches.

    Args:
        key: at least 16 bytes; the same at all sites of a run, and another in each run.

    Raises:
        AlgebraError: the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise AlgebraError(f"the key of a distinct count has {len(key)} bytes; give at least 16")
        self._key = hashlib.sha256(key).digest()
        self._start()

    def _start(self) -> None:
        self._added = update_theta_sketch(LG_SIZE)
        self._merged = theta_union(LG_SIZE)

    @property
    def estimate(self) -> int:
        """How many distinct values there are."""
        return round(float(self._whole().get_estimate()))

    @property
    def relative_error(self) -> float:
        """The standard error of the estimate, relative to it; 0 while it is exact."""
        return float(2 ** (-LG_SIZE / 2)) if self._whole().is_estimation_mode() else 0.0

    def add(self, column: Any, kind: str = "float") -> None:
        """Add a part of the column; missing values and failures are no values.

        Args:
            column: an Arrow array, a NumPy array or :class:`Numbers`.
            kind: the column's kind: values of ``"text"`` and ``"category"`` are compared as text, those of other kinds
                that are no numbers (bytes, lists) are not compared.
        """
        if isinstance(column, Numbers) or kind in NUMERIC:
            pseudonyms = self._of_numbers(_once(_bits(to_numbers(column, kind).values)))
        else:
            plain = unwrapped(column)
            values = as_text(pc.unique(plain)) if has_text(plain.type) else []
            texts = [text for text in values if text is not None]
            digests = [hashlib.blake2b(text.encode(), digest_size=8, key=self._key).digest() for text in texts]
            pseudonyms = np.frombuffer(b"".join(digests), "<i8")
        kept = theta_hashes(pseudonyms) < self._added.theta64  # others would not change the sketch, one by one
        for pseudonym in pseudonyms[kept].tolist():
            self._added.update(pseudonym)

    def _of_numbers(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The first half of each word's block; a word fills the first half of a block, and 0 the other."""
        encryptor = Cipher(algorithms.AES256(self._key), modes.ECB()).encryptor()  # as a permutation of single blocks
        pseudonyms = np.empty(len(words), "<i8")
        blocks = np.zeros((PART, 2), "<u8")
        for start in range(0, len(words), PART):
            count = min(PART, len(words) - start)
            blocks[:count, 0] = words[start : start + count]
            hidden = np.frombuffer(encryptor.update(blocks[:count].data.cast("B")), "<i8")
            pseudonyms[start : start + count] = hidden[::2]
        return pseudonyms

    def merge(self, other: Distinct) -> None:
        """Add what another one has seen with the same key."""
        self._merged.update(other._whole())

    def to_data(self) -> dict[str, Any]:
        """Return the sketch as plain data, without the key: 32 KiB at most."""
        return {"theta": self._whole().serialize()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Restore what :meth:`to_data` returned; without the key it merges, but takes no values.

        Raises:
            AlgebraError: the entry is missing or no sketch.
        """
        distinct = cls.__new__(cls)
        distinct._start()
        try:
            distinct._merged.update(compact_theta_sketch.deserialize(field(data, "theta", bytes)))
        except (IndexError, RuntimeError, ValueError) as error:
            raise AlgebraError(f"'theta' of partial statistics is no sketch of distinct values: {error}") from error
        return distinct

    def _whole(self) -> compact_theta_sketch:
        union = theta_union(LG_SIZE)
        union.update(self._added)
        union.update(self._merged.get_result())
        return union.get_result()


def _once(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The words in ascending order, each once: faster than ``numpy.unique``, which hashes."""
    words = np.sort(words)
    is_new = np.ones(len(words), np.bool_)
    is_new[1:] = words[1:] != words[:-1]
    return words[is_new]


def _bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
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
