"""Signals, with which a run tells its components to stop."""

from __future__ import annotations

import time
from typing import Any


class Signal:
    """A flag that is set once, with a value; a signal is also triggered when its parent is.

    Args:
        parent: another signal, or None.
    """

    def __init__(self, parent: Signal | None = None) -> None:
        self._parent = parent
        self._value: Any = None
        self._time: float | None = None
        self._triggered = False

    def trigger(self, value: Any) -> None:
        """Set the signal."""
        self._value, self._time, self._triggered = value, time.time(), True

    @property
    def value(self) -> Any:
        """The value with which it was triggered."""
        return self._value

    @property
    def trigger_time(self) -> float | None:
        """When it was triggered, in seconds since the epoch."""
        return self._time

    def reset(self, value: Any = None) -> None:
        """Clear the signal."""
        self._value, self._time, self._triggered = value, None, False

    @property
    def triggered(self) -> bool:
        """True once it, or its parent, was triggered."""
        return self._triggered or (self._parent is not None and self._parent.triggered)
