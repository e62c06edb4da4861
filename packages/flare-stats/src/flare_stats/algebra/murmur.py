"""The hashes by which a theta sketch keeps or drops integers, of many at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SEED = 9001  # of all sketches of Apache DataSketches, unless another is given
FIRST, SECOND = np.uint64(0x87C37B91114253D5), np.uint64(0x4CF5AD432745937F)
MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
PART = 8192  # words of which everything stays in the processor's cache


def theta_hashes(words: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the hash of each integer, of 63 bits, as a theta sketch computes it.

    The hash is part of the format that all implementations of DataSketches share, so it will not change.

    Source: Appleby's MurmurHash3_x64_128 of a message of 8 bytes; half of its first word.
    """
    hashes = np.empty(len(words), np.uint64)
    for start in range(0, len(words), PART):
        hashes[start : start + PART] = _murmur(words[start : start + PART].view(np.uint64))
    return hashes


def _murmur(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = words * FIRST
    mixed = (mixed << np.uint64(31)) | (mixed >> np.uint64(33))
    mixed *= SECOND
    high = (mixed ^ np.uint64(SEED ^ 8)) + np.uint64(SEED ^ 8)
    low = high + np.uint64(SEED ^ 8)
    return (_finish(high) + _finish(low)) >> np.uint64(1)


def _finish(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    for factor in MIX:
        words ^= words >> np.uint64(33)
        words *= factor
    words ^= words >> np.uint64(33)
    return words
