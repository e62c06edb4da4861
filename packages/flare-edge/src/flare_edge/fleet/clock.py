"""The time of a simulated fleet: that of the machine, faster if wanted."""

from __future__ import annotations

import asyncio
import math


class Clock:
    """Seconds of simulated time since the clock was made, on a running event loop.

    Args:
        speed: how many simulated seconds pass in a second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return (self._loop.time() - self._start) * self._speed

    def when(self, time: float) -> float | None:
        """Return the event loop's time at a simulated time; None if that never comes."""
        return None if math.isinf(time) else self._start + time / self._speed

    async def until(self, time: float) -> None:
        """Wait for a simulated time."""
        when = self.when(time)
        if when is None:
            await self._loop.create_future()  # until this is cancelled
        else:
            await asyncio.sleep(when - self._loop.time())
