"""Leaf: connects a gateway with its parent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from flare_core import JobEndpoint
from flare_edge.gateway.gateway import Closed, Gateway
from flare_edge.messages import Batch, Order
from flare_edge.sum_filters import SumFilter, filtered
from flare_edge.tree.uplink import Uplink


class Leaf:
    """A gateway's place in the tree.

    The gateway keeps accepted results on disk until the server has them in a checkpoint. Whenever a session begins, the
    leaf tells the devices and the orders that the gateway has, and sends again what the server lacks.

    Args:
        gateway: the gateway, which has started.
        endpoint: the site's endpoint.
        parent: the node to which the leaf reports.
        cancelled: set when the run is over.
        end: called when the run is over.
        fail: fails the run.
        filters: applied to sums before they leave.
    """

    def __init__(
        self,
        gateway: Gateway,
        endpoint: JobEndpoint,
        parent: str,
        cancelled: threading.Event,
        *,
        end: Callable[[], None],
        fail: Callable[[BaseException], None],
        filters: Sequence[SumFilter] = (),
    ) -> None:
        self._gateway = gateway
        self._name = endpoint.party
        self._end = end
        self._fail = fail
        self._filters = list(filters)
        self._models: set[int] = set()
        self._uplink = Uplink(endpoint, parent, cancelled, greet=self._attach, handle=self._handle, end=self._finish)

    def start(self) -> None:
        """Start the threads that connect the gateway; they end with the run."""
        for work in (self._uplink.follow, self._report):
            threading.Thread(target=self._guarded, args=(work,), name="flare-edge-leaf", daemon=True).start()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # a full disk, or an error in the gateway: the run must not wait for this leaf
            self._fail(error)

    def _report(self) -> None:
        while True:
            try:
                report = self._gateway.next_report()
            except Closed:
                return
            # One that does not arrive is covered by the state with which the next session begins.
            self._uplink.report(
                {
                    "moves": [[self._name, list(report.left), list(report.joined)]],
                    "batch": None if report.batch is None else self._outgoing(report.batch),
                }
            )

    def _attach(self) -> None:
        """Tell the parent what the gateway has, and let the gateway know what the server has."""
        gateway = self._gateway
        # In this order, so that an order which is answered meanwhile is in both, and not in neither.
        state = {
            "leaf": self._name,
            "devices": list(gateway.devices()),
            "open": [order.as_data() for order in gateway.open_tickets()],
            "answered": [order.as_data() for order in gateway.answered()],
        }
        reply = self._uplink.call("edge.attach", state)
        gateway.acknowledge(int(reply["acknowledged"]))
        gateway.expect([str(device) for device in reply["expected"]])  # those that have left are reported again
        for number, batch in gateway.unacknowledged():
            if number > int(reply["received"]):
                self._send_again(batch)
        self._give([Order.from_data(each) for each in reply["orders"]])

    def _send_again(self, batch: Batch) -> None:
        self._uplink.call("edge.report", {"moves": [], "batch": self._outgoing(batch)})

    def _outgoing(self, batch: Batch) -> dict[str, Any]:
        return filtered(batch, self._filters, self._name).as_data()

    def _handle(self, kind: str, data: Any) -> None:
        gateway = self._gateway
        match kind:
            case "orders":
                self._give([Order.from_data(each) for each in data])
            case "withdraw":
                gateway.withdraw([int(ticket) for ticket in data])
            case "acknowledge":
                gateway.acknowledge(int(data.get(self._name, 0)))
            case "drop":
                self._models.discard(int(data))
                gateway.drop_model(int(data))

    def _finish(self) -> None:
        self._gateway.finish()
        self._end()

    def _give(self, orders: Sequence[Order]) -> None:
        """Hand orders to the gateway, which must have their models first.

        Raises:
            LostError: the parent did not answer; the next session begins with these orders.
        """
        for version in sorted({order.version for order in orders} - self._models):
            params = self._uplink.model(version)
            if params is not None:  # else the order is being withdrawn
                self._gateway.set_model(version, params)
                self._models.add(version)
        self._gateway.give([order for order in orders if order.version in self._models])
