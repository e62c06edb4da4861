"""The orders whose results may still come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from flare_edge.messages import Order


class Outstanding:
    """Orders that are open, and orders that were withdrawn but of which a result would count."""

    def __init__(self) -> None:
        self._orders: dict[int, Order] = {}
        self._versions: dict[int, dict[int, Order]] = {}  # the same by version, for quick access
        self._open: dict[str, int] = {}  # the open ticket of each device that works
        self._counts: Counter[int] = Counter()  # of open orders by version
        self._training = 0

    def __len__(self) -> int:
        """Return the number of open orders."""
        return len(self._open)

    @property
    def training(self) -> int:
        """The number of open orders to train."""
        return self._training

    def get(self, ticket: int) -> Order | None:
        """Return an order, open or withdrawn; None if its result cannot count (any more)."""
        return self._orders.get(ticket)

    def open_ticket(self, device: str) -> int | None:
        """Return the ticket that a device works on, None if there is none."""
        return self._open.get(device)

    def versions(self) -> list[int]:
        """Return the versions with open orders, in order."""
        return sorted(version for version, count in self._counts.items() if count)

    def remembered(self) -> list[int]:
        """Return the versions with orders, open or withdrawn."""
        return sorted(self._versions)

    def of(self, version: int) -> list[Order]:
        """Return the open orders of a version, by ticket."""
        orders = self._versions.get(version, {})
        return [orders[ticket] for ticket in sorted(orders) if self._is_open(orders[ticket])]

    def opened(self, gateway: str) -> list[Order]:
        """Return the open orders of a gateway, by ticket."""
        return [order for ticket in sorted(self._open.values()) if (order := self._orders[ticket]).gateway == gateway]

    def open(self, order: Order) -> None:
        """Add an order, or open one again that was withdrawn."""
        if self._is_open(order):
            return
        self.remember(order)
        self._open[order.device] = order.ticket
        self._counts[order.version] += 1
        self._training += order.kind == "train"

    def remember(self, order: Order) -> None:
        """Add an order that is not open, but of which a result counts; one that is known stays as it is."""
        if order.ticket not in self._orders:
            self._orders[order.ticket] = order
            self._versions.setdefault(order.version, {})[order.ticket] = order

    def withdraw(self, ticket: int) -> Order | None:
        """Withdraw an order and return it; None if it is not open."""
        order = self._orders.get(ticket)
        if order is None or not self._is_open(order):
            return None
        del self._open[order.device]
        self._counts[order.version] -= 1
        self._training -= order.kind == "train"
        return order

    def close(self, ticket: int) -> bool:
        """Remove an order; return whether it was open."""
        is_open = self.withdraw(ticket) is not None
        order = self._orders.pop(ticket)
        of_version = self._versions[order.version]
        del of_version[ticket]
        if not of_version:
            del self._versions[order.version]
            self._counts.pop(order.version, None)
        return is_open

    def forget(self, version: int) -> None:
        """Remove the orders of a version."""
        for ticket in list(self._versions.get(version, {})):
            self.close(ticket)

    def state(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "orders": [list(astuple(self._orders[ticket])) for ticket in sorted(self._orders)],
            "open": sorted(self._open.values()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that :meth:`state` returned, into a new object."""
        for fields in state["orders"]:
            self.remember(Order(*fields))
        for ticket in state["open"]:
            self.open(self._orders[ticket])

    def _is_open(self, order: Order) -> bool:
        return self._open.get(order.device) == order.ticket
