"""Rates: how often a device or an address may do something."""

from __future__ import annotations

import time
from collections import OrderedDict


class Rate:
    """Token buckets by key; not thread-safe.

    Args:
        per_s: how many tokens a key gets a second.
        burst: how many it can save.
        keys: how many are remembered; the others have been quiet longest, and may start anew.
    """

    def __init__(self, per_s: float, *, burst: float | None = None, keys: int = 200_000) -> None:
        self._per_s = per_s
        self._burst = max(1.0, 10 * per_s if burst is None else burst)
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def take(self, key: str) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        now = time.monotonic()
        tokens, last = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - last) * self._per_s)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._per_s
        self._buckets[key] = (tokens if wait else tokens - 1), now
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return wait
