"""A simulated device at work: its sessions, its battery, and the order that it works on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from flare_edge.messages import Order
from flare_edge.virtual.fleet import Device


@dataclass(frozen=True, slots=True)
class Work:
    """How an order will end, unless something comes between.

    Args:
        end: when.
        outcome: ``done``; ``failed``, which the device reports; or ``lost``, which nobody reports.
        reason: why it failed.
    """

    end: float
    outcome: str
    reason: str = ""


class Phone:
    """A device of a fleet in simulated time.

    Args:
        number: in the fleet, from 0.
        device: its properties.
    """

    __slots__ = (
        "_charged",
        "_level",
        "_worked_since",
        "device",
        "number",
        "online_until",
        "order",
        "orders",
        "sessions",
    )

    def __init__(self, number: int, device: Device) -> None:
        self.number = number
        self.device = device
        self.sessions: Iterator[tuple[float, float]] = device.sessions()
        self.online_until = -math.inf
        """End of the session that it is in, or was in last."""
        self.order: Order | None = None
        self.orders = 0
        """How many orders it was given."""
        self._level = 1.0  # of the battery, at the time _charged
        self._charged = 0.0
        self._worked_since = 0.0

    def begin(self, order: Order, now: float, size: int) -> Work:
        """Begin to work.

        Args:
            order: what to do.
            now: simulated time.
            size: of the model, and of an update, in bytes.
        """
        device, number = self.device, self.orders
        self._level = self.level(now)
        self._charged = now
        self.order, self.orders = order, number + 1
        fetch, send = device.transfer_s(size), device.transfer_s(size if order.kind == "train" else 0)
        self._worked_since = now + fetch
        whole = fetch + device.train_s + send
        if device.loss_rate and device.draw("loss", number) < device.loss_rate:
            return Work(now + whole * device.draw("loss time", number), "lost")
        if device.failure_rate and device.draw("failure", number) < device.failure_rate:
            return Work(now + whole * device.draw("failure time", number), "failed", "a simulated failure")
        if device.battery is not None and (left := self._level * device.battery.train_s) < device.train_s:
            return Work(now + fetch + left, "failed", "the battery is empty")
        return Work(now + whole, "done")

    def stop(self, now: float) -> None:
        """End the work on the order."""
        if self.device.battery is not None:
            worked = min(max(now - self._worked_since, 0.0), self.device.train_s)
            self._level = max(self._level - worked / self.device.battery.train_s, 0.0)
            self._charged = now
        self.order = None

    def level(self, now: float) -> float:
        """Return the level of the battery of a device that does not work, from 0 to 1."""
        if self.device.battery is None:
            return 1.0
        return min(self._level + (now - self._charged) / self.device.battery.charge_s, 1.0)

    def ready_at(self, now: float) -> float:
        """Return when the battery is full enough to work."""
        battery = self.device.battery
        if battery is None:
            return now
        enough = max(battery.enough, min(self.device.train_s / battery.train_s, 1.0))
        if (missing := enough - self.level(now)) <= 0:
            return now
        return now + missing * battery.charge_s * (1 + 1e-9)  # not a rounding error too early
