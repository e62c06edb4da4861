"""Samples and counts of bounded size, deterministic for the same data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAMPLE = 20_000
DISTINCT = 1 << 18

Numbers = npt.NDArray[np.float64]


class Sample:
    """A uniform sample of up to 20,000 numbers; all of them, if there are no more."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._numbers = np.empty(0)
        self._keys = np.empty(0)

    def add(self, numbers: Numbers) -> None:
        """Add numbers; each stays with the same probability."""
        keys = self._random.random(len(numbers))
        if len(self._keys) == SAMPLE:
            is_in = keys < self._keys.max()
            numbers, keys = numbers[is_in], keys[is_in]
        self._numbers = np.concatenate([self._numbers, numbers])
        self._keys = np.concatenate([self._keys, keys])
        if len(self._keys) > SAMPLE:
            kept = np.argpartition(self._keys, SAMPLE)[:SAMPLE]
            self._numbers, self._keys = self._numbers[kept], self._keys[kept]

    def sorted(self) -> Numbers:
        """Return the sample in ascending order."""
        return np.sort(self._numbers)


class Repetitions:
    """Counts values that repeat earlier ones, by their hashes.

    Exact for up to 262,144 different values. Beyond, only the values with small hashes are followed, as many as fit;
    since equal values have equal hashes, their share of repetitions estimates that of all values.
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._limit = np.uint64(0xFFFFFFFFFFFFFFFF)
        self._total = 0

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add values by their hashes, whose bits must be well mixed."""
        self._total += len(hashes)
        found, counts = np.unique(hashes[hashes <= self._limit], return_counts=True)
        merged = np.concatenate([self._hashes, found])
        self._hashes, places = np.unique(merged, return_inverse=True)
        self._counts = np.bincount(
            places, weights=np.concatenate([self._counts, counts]), minlength=len(self._hashes)
        ).astype(np.int64)
        while len(self._hashes) > DISTINCT:
            self._limit >>= np.uint64(1)
            kept = self._hashes <= self._limit
            self._hashes, self._counts = self._hashes[kept], self._counts[kept]

    @property
    def count(self) -> int:
        """How many values repeat an earlier one."""
        followed = int(self._counts.sum())
        if not followed:
            return 0
        return round(self._total * (followed - len(self._hashes)) / followed)
