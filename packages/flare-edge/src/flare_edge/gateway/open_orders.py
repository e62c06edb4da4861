"""Orders that devices have not answered yet; not thread-safe."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from flare_edge.messages import Order


class OpenOrders:
    """Orders by ticket; a device has one at a time.

    Tickets of a device grow, so one that is not newer than its newest was open before: it is not opened again.

    Args:
        answer_within_s: an order is late after that; None: never.
    """

    def __init__(self, answer_within_s: float | None) -> None:
        self._answer_within_s = answer_within_s
        self._orders: OrderedDict[int, tuple[Order, float]] = OrderedDict()  # with the time when they were given
        self._ticket_of: dict[str, int] = {}
        self._newest: dict[str, int] = {}  # by device, open or not

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Order]:
        return (order for order, _ in self._orders.values())

    def know(self, tickets: Mapping[str, int]) -> None:
        """Note tickets that devices had before a restart."""
        for device, ticket in tickets.items():
            self._newest[device] = max(ticket, self._newest.get(device, 0))

    def open(self, order: Order, now: float) -> bool:
        """Open an order; return False if it was open before."""
        if order.ticket <= self._newest.get(order.device, 0):
            return False
        self._newest[order.device] = order.ticket
        self.open_again(order, now)
        return True

    def open_again(self, order: Order, now: float) -> None:
        """Open an order that was closed, since its result could not be kept."""
        self._orders[order.ticket] = order, now
        self._ticket_of[order.device] = max(order.ticket, self._ticket_of.get(order.device, 0))

    def close(self, ticket: int) -> Order | None:
        """Close an order and return it; None if it is not open."""
        order, _ = self._orders.pop(ticket, (None, 0.0))
        if order is not None and self._ticket_of.get(order.device) == ticket:
            del self._ticket_of[order.device]
        return order

    def get(self, ticket: int) -> Order | None:
        """Return an open order by its ticket."""
        return self._orders[ticket][0] if ticket in self._orders else None

    def of(self, device: str) -> Order | None:
        """Return the open order of a device."""
        ticket = self._ticket_of.get(device)
        return None if ticket is None else self._orders[ticket][0]

    @property
    def deadline(self) -> float | None:
        """When the next order is late; None if none ever is."""
        if self._answer_within_s is None or not self._orders:
            return None
        return next(iter(self._orders.values()))[1] + self._answer_within_s

    def late(self, now: float) -> Iterator[Order]:
        """Yield the orders that are late; each must be closed before the next is asked for."""
        while (deadline := self.deadline) is not None and now >= deadline:
            yield next(iter(self._orders.values()))[0]
