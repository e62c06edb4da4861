"""Pools of numbers that components measure, which become ``stats_pool_summary.json`` in a party's folder of the run.

Flare's own record of messages and times is ``summary.json`` of the run.
"""

from __future__ import annotations

import json
import math
import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

TIMES_S = (0.0001, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.01, 0.02, 0.04, 0.08, 0.1, 0.2, 0.4, 0.8, 1.0, 2.0)
SIZES_MB = (0.01, 0.1, 1, 10, 50, 100, 200, 500, 800, 1000)
SUMMARY = "stats_pool_summary.json"


class HistPool:
    """Numbers by category, in bins.

    Args:
        name: its name.
        description: text for people.
        marks: the limits between the bins, rising; a bin begins with its lower limit.
        unit: the unit of the numbers.

    Raises:
        ValueError: there are fewer than two marks, or they do not rise.
    """

    def __init__(self, name: str, description: str, marks: Sequence[float], unit: str) -> None:
        if len(marks) < 2 or any(low >= high for low, high in pairwise(marks)):
            raise ValueError(f"the marks of the pool {name!r} are {list(marks)!r}; give two or more that rise")
        self.name = name
        self.description = description
        self.marks = list(marks)
        self.unit = unit
        self._bins: dict[str, dict[int, dict[str, float]]] = {}  # by category and place
        self._lock = threading.Lock()

    def record_value(self, category: str, value: float) -> None:
        """Add a number to a category."""
        number = float(value)
        empty = {"count": 0, "total": 0.0, "min": math.inf, "max": -math.inf}
        with self._lock:
            found = self._bins.setdefault(category, {}).setdefault(bisect_right(self.marks, number), empty)
            found["count"] += 1
            found["total"] += number
            found["min"], found["max"] = min(found["min"], number), max(found["max"], number)

    def to_dict(self) -> dict[str, Any]:
        """Return the pool as JSON values: the bins of each category in order, ``""`` for those without numbers."""
        with self._lock:
            data = {
                category: [dict(bins[place]) if place in bins else "" for place in range(len(self.marks) + 1)]
                for category, bins in self._bins.items()
            }
        told = {"name": self.name, "description": self.description, "marks": self.marks, "unit": self.unit}
        return {**told, "cat_data": data}


class StatsPoolManager:
    """The pools of this process.

    A pool that is added again is the same one: parties of a simulation, and runs one after the other, share a process.
    """

    pools: ClassVar[dict[str, HistPool]] = {}
    _lock = threading.Lock()

    @classmethod
    def add_time_hist_pool(
        cls, name: str, description: str, marks: Sequence[float] | None = None, scope: str | None = None
    ) -> HistPool:
        """Return a pool of times in seconds.

        Args:
            name: its name.
            description: text for people.
            marks: the limits between the bins.
            scope: the party that it belongs to; None for one of the whole process.
        """
        return cls._added(HistPool(name, description, marks or TIMES_S, "second"), scope)

    @classmethod
    def add_msg_size_pool(
        cls, name: str, description: str, marks: Sequence[float] | None = None, scope: str | None = None
    ) -> HistPool:
        """Return a pool of sizes in MB; arguments as for :meth:`add_time_hist_pool`."""
        return cls._added(HistPool(name, description, marks or SIZES_MB, "MB"), scope)

    @classmethod
    def get_pool(cls, name: str) -> HistPool | None:
        """Return a pool, by its name or ``name@scope``; None if there is none."""
        return cls.pools.get(name.lower())

    @classmethod
    def end(cls, party: str, folder: Path) -> None:
        """Write the pools of a party, and those of the whole process, and forget the former; Flare calls this.

        Args:
            party: the party, whose run is over.
            folder: its folder of the run.
        """
        suffix = f"@{party}".lower()
        with cls._lock:
            pools = {key: pool for key, pool in cls.pools.items() if "@" not in key or key.endswith(suffix)}
            for key in [key for key in pools if key.endswith(suffix)]:
                del cls.pools[key]
        if pools:
            summary = {key: {"type": "hist", "pool": pool.to_dict()} for key, pool in sorted(pools.items())}
            (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _added(cls, pool: HistPool, scope: str | None) -> HistPool:
        key = (f"{pool.name}@{scope}" if scope else pool.name).lower()
        with cls._lock:
            return cls.pools.setdefault(key, pool)
