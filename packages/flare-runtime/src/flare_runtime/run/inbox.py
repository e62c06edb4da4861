"""Inbox: what has arrived for a thread that sleeps until there is enough of it."""

from __future__ import annotations

import queue
import time
from collections import deque
from typing import Generic, TypeVar, overload

__all__ = ["Inbox"]

ItemT = TypeVar("ItemT")


class Inbox(Generic[ItemT]):
    """Passes items from any thread to one that waits for them.

    Waking a thread, and running what it does with cold caches, costs more than what is done with a small item. So items
    that ``can_wait`` wake it only together, unless they come so slowly that somebody could notice.

    Args:
        patience_s: an item wakes it if nothing has for so many seconds.
    """

    def __init__(self, patience_s: float = 0.05) -> None:
        self._patience_s = patience_s
        self._items: deque[ItemT] = deque()
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wanted = 1
        self._woken = 0.0

    def put(self, item: ItemT, *, can_wait: bool = False) -> None:
        """Add an item."""
        self._items.append(item)
        if can_wait and len(self._items) < self._wanted and time.monotonic() - self._woken < self._patience_s:
            return
        self._woken = time.monotonic()
        self._signals.put(None)

    @overload
    def take(self, wanted: int = 1) -> ItemT: ...

    @overload
    def take(self, wanted: int = 1, timeout_s: float | None = None) -> ItemT | None: ...

    def take(self, wanted: int = 1, timeout_s: float | None = None) -> ItemT | None:
        """Return the next item; if there is none, sleep until ``wanted`` have come, or one that cannot wait.

        None if nothing has come for ``timeout_s`` seconds.
        """
        while True:
            if self._items:
                return self._items.popleft()
            self._wanted = wanted
            if len(self._items) < wanted:  # looked at after it is known how many are wanted, so none is overlooked
                try:
                    self._signals.get(timeout=timeout_s)
                except queue.Empty:
                    return self.take_now()

    def take_now(self) -> ItemT | None:
        """Return the next item, or None if there is none."""
        return self._items.popleft() if self._items else None
