"""Random numbers that every device draws alike, in Python and in a browser.

The generator is Mulberry32 (Tommy Ettinger, 2017, public domain): 32 bits of state, 32 bits out. It orders the rows of
a training set, which needs to be the same everywhere and does not need to be unpredictable. It is not for noise that
protects somebody's data: see :mod:`flare_edge.device.filters`.

All arithmetic is modulo 2^32::

    state += 0x6D2B79F5
    t = (state ^ state >> 15) * (state | 1)
    t ^= t + (t ^ t >> 7) * (t | 61)
    output t ^ t >> 14
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MASK = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9  # 2^32 divided by the golden ratio: the seeds of successive versions lie far apart


@dataclass
class Mulberry32:
    """A generator of 32-bit integers; ``state`` is the seed."""

    state: int

    def integer(self) -> int:
        """Return the next number, from 0 to 2^32 - 1."""
        self.state = (self.state + 0x6D2B79F5) & _MASK
        t = ((self.state ^ self.state >> 15) * (self.state | 1)) & _MASK
        t ^= (t + (t ^ t >> 7) * (t | 61)) & _MASK
        return t ^ t >> 14

    def permutation(self, count: int) -> np.ndarray:
        """Return the numbers below ``count``, at most 2^21, in a random order: Fisher and Yates' shuffle from the end.

        The partner of ``i`` is ``integer() * (i + 1) >> 32``, which a browser computes exactly up to 2^21.
        """
        order = list(range(count))
        for i in range(count - 1, 0, -1):
            j = self.integer() * (i + 1) >> 32
            order[i], order[j] = order[j], order[i]
        return np.array(order, dtype=np.int64)


def generator_for(seed: int, version: int) -> Mulberry32:
    """Return the generator of a task: of its configuration's seed and its model's version."""
    return Mulberry32((seed + version * _GOLDEN) & _MASK)
