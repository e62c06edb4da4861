"""Memory of models that were received and are not used any more: the next model is received into it.

New memory costs: the system has to find each page and to clear it, which took a third of the processor's time while
large models were received, and more on a host that had to find memory itself.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, TypeAlias

import numpy as np

from flare_tensor_downloader.memory import OWN_REFERENCES
from flare_tensor_downloader.source import Entry

__all__ = ["ReusedMemory"]

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class ReusedMemory:
    """Lends memory for tensors, and takes back what nobody but it refers to. Safe for several threads.

    What came back last is kept, no more; so it is that of one model, however many borrowers there are.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[tuple[Any, ...], list[Array]] = {}
        self._lent: dict[str, list[Array]] = {}

    def empty(self, entry: Entry, borrower: str) -> Array:
        """Memory for a tensor, with anything in it."""
        with self._lock:
            free = self._free.get((entry.numpy_dtype, entry.shape))
            if free is None:
                self._free.clear()  # it is another model, which needs the room
            array = free.pop() if free else entry.empty()
            self._lent.setdefault(borrower, []).append(array)
            return array

    def take_back(self, borrower: str) -> None:
        """Take back what a borrower does not use any more; the rest is left to it."""
        with self._lock:
            lent = self._lent.pop(borrower, [])
            free: dict[tuple[Any, ...], list[Array]] = {}
            while lent:
                array = lent.pop()
                if sys.getrefcount(array) == OWN_REFERENCES and array.flags.writeable:
                    free.setdefault((array.dtype, array.shape), []).append(array)
            if free:
                self._free = free
