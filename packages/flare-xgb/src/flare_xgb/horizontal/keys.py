"""Keys: float32 numbers as unsigned integers of the same order, and counts of them by their leading bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flare_xgb._jit import kernel

KEY_BITS = 32
_SIGN = np.uint32(1 << 31)


def keys_of(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the key of each number: a smaller number has a smaller key, and zero has one key whatever its sign.

    NaN has a key, too, which means nothing.
    """
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.uint32)  # -0 + 0 is +0
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def values_of(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the numbers that have these keys, as float32."""
    keys = np.ascontiguousarray(keys, np.uint32)
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).view(np.float32)


class SortedKeys:
    """Numbers to count several times: sorted once.

    Args:
        values: float32; NaN is not counted.
        weights: int64, of the numbers; None if all are 1.
    """

    def __init__(self, values: NDArray[np.float32], weights: NDArray[np.int64] | None = None) -> None:
        present = ~np.isnan(values)
        keys = keys_of(values[present])
        self._sums: NDArray[np.int64] | None = None  # the weights of as many keys, from the first on
        if weights is None:
            self._keys = np.sort(keys)
        else:
            order = np.argsort(keys)
            self._keys = keys[order]
            self._sums = np.concatenate(([0], np.cumsum(weights[present][order])))

    def counts(self, prefixes: NDArray[np.uint32], depth: int, bits: int) -> NDArray[np.int64]:
        """Return the counts of some prefixes, int64 [prefixes, 2**bits]; see :func:`count_keys`."""
        rest = KEY_BITS - depth - bits
        first = prefixes.astype(np.int64)[:, np.newaxis] << (bits + rest)
        starts = first + (np.arange(1 << bits) << rest)
        places = np.empty((len(prefixes), (1 << bits) + 1), np.int64)
        places[:, :-1] = np.searchsorted(self._keys, starts.astype(np.uint32))
        last = first[:, 0] + (1 << (bits + rest)) - 1
        places[:, -1] = np.searchsorted(self._keys, last.astype(np.uint32), side="right")
        return np.diff(places if self._sums is None else self._sums[places], axis=1)


def count_keys(
    keys: NDArray[np.uint32],
    groups: NDArray[np.int32],
    weights: NDArray[np.int64],
    wanted: dict[str, Any],
    counts: NDArray[np.int64],
) -> None:
    """Add the weights of keys to the counts of the prefixes that they begin with, by the bits that follow.

    Args:
        keys: [rows] of uint32.
        groups: [rows], the group of each key; those below 0 are not counted.
        weights: [rows]; or one number, for all rows.
        wanted: ``prefixes`` [n] of uint32, sorted within each group, and ``pointers`` [groups + 1] of int64, where each
            group's begin; ``depth``, how many bits a prefix has; ``bits``, how many of the following are told apart.
        counts: [n, 2**bits], is added to.
    """
    _count(keys, groups, weights, wanted["prefixes"], wanted["pointers"], wanted["depth"], wanted["bits"], counts)


@kernel
def _count(
    keys: NDArray[np.uint32],
    groups: NDArray[np.int32],
    weights: NDArray[np.int64],
    prefixes: NDArray[np.uint32],
    pointers: NDArray[np.int64],
    depth: int,
    bits: int,
    counts: NDArray[np.int64],
) -> None:
    last = (1 << bits) - 1
    for row in range(len(keys)):
        group = groups[row]
        if group < 0:
            continue
        key = np.int64(keys[row])
        prefix = key >> (32 - depth)
        low, high = pointers[group], pointers[group + 1]
        while low < high:
            middle = (low + high) >> 1
            if np.int64(prefixes[middle]) < prefix:
                low = middle + 1
            else:
                high = middle
        if low < pointers[group + 1] and np.int64(prefixes[low]) == prefix:
            counts[low, (key >> (32 - depth - bits)) & last] += weights[row if len(weights) > 1 else 0]
