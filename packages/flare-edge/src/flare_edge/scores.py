"""Scores: what devices that train measure of the versions that they have received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flare_edge.fedbuff import NewVersion


class Scores:
    """Mean metrics of versions that enough devices have measured while they trained.

    Args:
        needed: the number of devices that are enough.
    """

    def __init__(self, needed: int) -> None:
        self._needed = needed
        self._open: dict[int, tuple[int, dict[str, tuple[float, int]]]] = {}
        self._done = -1  # the newest version that enough have measured

    def add(self, new: NewVersion) -> dict[int, dict[str, float]]:
        """Add the updates of a new version; return the means of the versions that enough devices have measured now.

        An older version than one that was returned before is not returned any more.
        """
        for version, each in sorted(new.sums.items()):
            if version <= self._done:
                continue
            count, metrics = self._open.get(version, (0, {}))
            for name, (value, weight) in each.metrics.items():
                before = metrics.get(name, (0.0, 0))
                metrics[name] = (before[0] + value, before[1] + weight)
            self._open[version] = (count + each.count, metrics)
        complete = sorted(version for version, (count, _) in self._open.items() if count >= self._needed)
        found = {version: self._means(version) for version in complete}
        self._done = max([self._done, *complete])
        self._open = {version: each for version, each in self._open.items() if version > self._done}
        return found

    def _means(self, version: int) -> dict[str, float]:
        _, metrics = self._open[version]
        return {name: value / weight for name, (value, weight) in sorted(metrics.items()) if weight}

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        opened = {
            str(version): [count, {name: list(pair) for name, pair in metrics.items()}]
            for version, (count, metrics) in self._open.items()
        }
        return {"done": self._done, "open": opened}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self._done = int(state["done"])
        self._open = {
            int(version): (int(count), {name: (float(value), int(weight)) for name, (value, weight) in metrics.items()})
            for version, (count, metrics) in state["open"].items()
        }
