"""A pool of threads for kernels, which run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Threads:
    """Runs a function over items, several at once.

    The threads start with the first use, and a forked process starts its own. Several threads may share one object.

    Args:
        count: how many; 0 or less: one for each core that this process may use.
    """

    def __init__(self, count: int = 0) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.count = count if count > 0 else cores
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """Return the function's results in the order of the items.

        Each thread takes the next item when it is done with one, and so does the caller.
        """
        todo = list(items)
        if self.count == 1 or len(todo) < 2:
            return [function(item) for item in todo]
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="flare-xgb")
            self._process = os.getpid()
        results: list[Any] = [None] * len(todo)
        places = iter(range(len(todo)))  # the interpreter hands out each place once

        def work() -> None:
            for place in places:
                results[place] = function(todo[place])

        others = [self._pool.submit(work) for _ in range(min(self.count, len(todo)) - 1)]
        try:
            work()
        finally:
            started = [other for other in others if not other.cancel()]  # the rest would find nothing to do
            wait(started)
        for other in started:
            other.result()
        return results
