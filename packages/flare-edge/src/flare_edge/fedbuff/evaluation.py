"""Evaluations of versions by devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flare_edge.fedbuff.sums import add_metrics
from flare_edge.messages import Order, VersionSum


class Evaluations:
    """The versions that devices evaluate at the moment, and what was reported of them.

    Devices that train a version measure it, too, before they train; their metrics belong to the evaluation.
    """

    def __init__(self) -> None:
        self._tickets: dict[int, set[int]] = {}  # open ones, by version
        self._metrics: dict[int, dict[str, tuple[float, int]]] = {}

    @property
    def pending(self) -> bool:
        """Some evaluation is not complete."""
        return bool(self._tickets)

    def begin(self, version: int, orders: Iterable[Order]) -> None:
        """Begin the evaluation of a version."""
        self._tickets[version] = {order.ticket for order in orders}
        self._metrics[version] = {}

    def add(self, sums: Mapping[int, VersionSum]) -> None:
        """Add what devices have reported of versions that are evaluated."""
        for version in self._metrics.keys() & sums.keys():
            add_metrics(self._metrics[version], sums[version].metrics)

    def finish(self, order: Order) -> None:
        """Record that an order is not open any more."""
        if order.kind == "evaluate":
            self._tickets.get(order.version, set()).discard(order.ticket)

    def completed(self) -> dict[int, dict[str, float]]:
        """Return the mean metrics of the versions that are complete, and forget them."""
        complete = sorted(version for version, tickets in self._tickets.items() if not tickets)
        found = {}
        for version in complete:
            del self._tickets[version]
            metrics = self._metrics.pop(version)
            found[version] = {name: total / weight for name, (total, weight) in sorted(metrics.items())}
        return {version: metrics for version, metrics in found.items() if metrics}

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            str(version): {
                "tickets": sorted(tickets),
                "metrics": {name: list(pair) for name, pair in self._metrics[version].items()},
            }
            for version, tickets in self._tickets.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned."""
        self._tickets = {int(version): set(each["tickets"]) for version, each in state.items()}
        self._metrics = {
            int(version): {name: (float(total), int(weight)) for name, (total, weight) in each["metrics"].items()}
            for version, each in state.items()
        }
