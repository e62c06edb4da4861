"""Simulated time: events in the order of their times, and those of the same time in the order of their planning."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable


class Clock:
    """A queue of events; simulated time jumps from one to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    @property
    def next_time(self) -> float:
        """The time of the next event; infinite if there is none."""
        return self._events[0][0] if self._events else math.inf

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Plan an event; at an infinite time it never happens.

        Args:
            time: in seconds since the start; now, if it lies in the past.
            event: called without arguments when its time has come.
        """
        if time < math.inf:
            heapq.heappush(self._events, (max(time, self.now), self._planned, event))
            self._planned += 1

    def step(self) -> None:
        """Go to the time of the next event, and let all events of that time happen."""
        self.now = self.next_time
        while self._events and self._events[0][0] == self.now:
            heapq.heappop(self._events)[2]()
