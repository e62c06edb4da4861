"""Results that were accepted and are not in a batch yet, summed up by version of the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_edge.fixed_point import add
from flare_edge.gateway.results import Result
from flare_edge.messages import Batch, Order, VersionSum


@dataclass
class _Part:
    """The results of one version."""

    since: float  # when the first came, or was last found to be held back
    total: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = field(default_factory=dict)
    weight: int = 0
    count: int = 0
    devices: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)  # those of the devices that sent an update
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)
    tickets: list[int] = field(default_factory=list)


class Pending:
    """The contents of the next batch; not thread-safe.

    Args:
        timeout_s: the first result waits so long for others.
        min_devices: a sum of fewer devices is held back while its version has open orders, and for ``timeout_s`` at
        least;
            then its tickets fail.
    """

    def __init__(self, timeout_s: float, min_devices: int = 1) -> None:
        self._timeout_s = timeout_s
        self._min_devices = min_devices
        self._parts: dict[int, _Part] = {}
        self._failed: dict[int, str] = {}
        self._failed_since = 0.0

    @property
    def deadline(self) -> float | None:
        """When the next batch is due at the latest; None if nothing waits."""
        times = [part.since for part in self._parts.values()]
        if self._failed:
            times.append(self._failed_since)
        return min(times) + self._timeout_s if times else None

    def is_due(self, now: float, *, is_answered: bool) -> bool:
        """Return whether it is time for a batch: all orders are answered, or some result has waited long enough."""
        if is_answered and (self._failed or any(self._is_enough(part) for part in self._parts.values())):
            return True
        return self.deadline is not None and now >= self.deadline

    def add(self, order: Order, result: Result, encoded: Mapping[str, Any] | None, now: float) -> None:
        """Add a result; ``encoded`` is its update in fixed point."""
        if result.kind == "failed":
            self.fail(order.ticket, result.reason, now)
            return
        part = self._parts.setdefault(order.version, _Part(now))
        part.tickets.append(order.ticket)
        part.devices.add(order.device)
        if encoded is not None:
            add(part.total, encoded)
            part.weight += result.weight
            part.count += 1
            part.trained.add(order.device)
        for name, value in (result.metrics or {}).items():
            total, weight = part.metrics.get(name, (0.0, 0))
            part.metrics[name] = total + result.weight * value, weight + result.weight

    def fail(self, ticket: int, reason: str, now: float) -> None:
        """Note that there is no result for a ticket."""
        if not self._failed:
            self._failed_since = now
        self._failed[ticket] = reason

    def drop(self, version: int, now: float) -> None:
        """Let the tickets of a version fail that is no longer kept, if its sum is held back."""
        part = self._parts.get(version)
        if part is not None and not self._is_enough(part):
            self._fail_part(version, now)

    def take(self, leaves: Mapping[str, int], now: float, open_versions: Collection[int]) -> Batch | None:
        """Return a batch of everything that is not held back, and forget that; None if there is nothing."""
        for version, part in list(self._parts.items()):
            if self._is_enough(part) or now < part.since + self._timeout_s:
                continue
            if version in open_versions:
                part.since = now
            else:
                self._fail_part(version, now)
        taken = {version: part for version, part in self._parts.items() if self._is_enough(part)}
        failed, self._failed = self._failed, {}
        if not taken and not failed:
            return None
        self._parts = {version: part for version, part in self._parts.items() if version not in taken}
        sums = {
            version: VersionSum(part.total, part.weight, part.count, part.metrics) for version, part in taken.items()
        }
        return Batch(leaves, sums, [ticket for part in taken.values() for ticket in part.tickets], failed)

    def _is_enough(self, part: _Part) -> bool:
        return len(part.devices) >= self._min_devices and (not part.trained or len(part.trained) >= self._min_devices)

    def _fail_part(self, version: int, now: float) -> None:
        reason = f"held back: fewer than {self._min_devices} devices of this gateway trained version {version}"
        for ticket in self._parts.pop(version).tickets:
            self.fail(ticket, reason, now)
