"""The updates that wait for the next version."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flare_edge.errors import EdgeError
from flare_edge.fedbuff.decisions import Dropped
from flare_edge.fedbuff.sums import add_sum, sum_from_data, sum_to_data
from flare_edge.fixed_point import MAX_UPDATES, MAX_WEIGHT, check_addable
from flare_edge.messages import Order, VersionSum

logger = logging.getLogger("flare_edge")


class Waiting:
    """Sums of updates by version, and what was dropped of them.

    Args:
        is_kept: returns whether updates of a version are used.
    """

    def __init__(self, is_kept: Callable[[int], bool]) -> None:
        self._is_kept = is_kept
        self._sums: dict[int, VersionSum] = {}
        self._dropped: list[Dropped] = []

    @property
    def count(self) -> int:
        """The number of updates that wait."""
        return sum(each.count for each in self._sums.values())

    def add(self, sums: Mapping[int, VersionSum], orders: Sequence[Order]) -> dict[int, VersionSum]:
        """Add the sums of a batch that are of versions that are kept, and of as many orders as they say.

        The others are dropped.

        Args:
            sums: by version.
            orders: those whose results the batch reports.
        Returns:
            The sums without those that were dropped.
        Raises:
            EdgeError: a sum cannot be added; nothing was added.
        """
        counts = Counter(order.version for order in orders if order.kind == "train")
        used: dict[int, VersionSum] = {}
        for version, each in sorted(sums.items()):
            reason = None if counts[version] == each.count else "unexpected"
            if each.count and not self._is_kept(version):
                reason = "late"
            if reason is None:
                used[version] = each
            else:
                level = logging.INFO if reason == "late" else logging.WARNING
                logger.log(level, "dropped %d updates of version %d: %s", each.count, version, reason)
                self._dropped.append(Dropped(version, each.count, reason))
        self._check(used)
        for version, each in used.items():
            if each.count:  # else evaluations alone
                self._sums[version] = add_sum(self._sums.get(version), each)
        return used

    def take(self) -> dict[int, VersionSum]:
        """Return the sums by version, in order; none waits afterwards."""
        taken = {version: self._sums[version] for version in sorted(self._sums)}
        self._sums = {}
        return taken

    def take_dropped(self) -> list[Dropped]:
        """Return what was dropped since the last call."""
        taken, self._dropped = self._dropped, []
        return taken

    def state(self) -> dict[str, Any]:
        """Return the state as nested dicts of JSON values and arrays."""
        return {
            "sums": {str(version): sum_to_data(each) for version, each in self._sums.items()},
            "dropped": [[each.version, each.count, each.reason] for each in self._dropped],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self._sums = {int(version): sum_from_data(each) for version, each in state["sums"].items()}
        self._dropped = [Dropped(int(version), int(count), reason) for version, count, reason in state["dropped"]]

    def _check(self, sums: Mapping[int, VersionSum]) -> None:
        updates = {version: each for version, each in sums.items() if each.count}
        first = next((each.total for each in (*self._sums.values(), *updates.values())), {})
        for version, each in updates.items():
            check_addable(first, each.total)
            if not each.count <= each.weight <= each.count * MAX_WEIGHT:
                raise EdgeError(
                    f"{each.count} updates of version {version} have the weight {each.weight} in all;"
                    f" each weighs from 1 to {MAX_WEIGHT}"
                )
        if (number := self.count + sum(each.count for each in sums.values())) > MAX_UPDATES:
            raise EdgeError(f"{number:,} updates wait, but at most {MAX_UPDATES:,} can be added without overflow")
