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
        is_recorded: in the recorded run the server had the result at that time; the gateway may have had it earlier.
    """

    end: float
    outcome: str
    reason: str = ""
    is_recorded: bool = False

    @property
    def is_safe(self) -> bool:
        """The result comes whatever happens: in the recorded run it did."""
        return self.is_recorded and self.outcome == "done" and self.end < math.inf


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
        "work",
    )

    def __init__(self, number: int, device: Device) -> None:
        self.number = number
        self.device = device
        self.sessions: Iterator[tuple[float, float]] = device.sessions()
        self.online_until = -math.inf
        """End of the session that it is in, or was in last."""
        self.order: Order | None = None
        self.work: Work | None = None
        """How the order will end."""
        self.orders = 0
        """How many orders it was given."""
        self._level = 1.0  # of the battery, at the time _charged
        self._charged = 0.0
        self._worked_since = 0.0

    def begin(self, order: Order, now: float, size: int) -> Work:
        """Begin to work, and return how that will end.

        Args:
            order: what to do.
            now: simulated time.
            size: of the model, and of an update, in bytes.
        """
        self.work = self._plan(order, now, size)
        return self.work

    def stop(self, now: float) -> None:
        """End the work on the order."""
        if self.device.battery is not None:
            worked = min(max(now - self._worked_since, 0.0), self.device.train_s)
            self._level = max(self._level - worked / self.device.battery.train_s, 0.0)
            self._charged = now
        self.order = self.work = None

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

    def _plan(self, order: Order, now: float, size: int) -> Work:
        device, number = self.device, self.orders
        self._level = self.level(now)
        self._charged = now
        self.order, self.orders = order, number + 1
        fetch, send = device.transfer_s(size), device.transfer_s(size if order.kind == "train" else 0)
        self._worked_since = now + fetch
        if number < len(device.observed):
            seconds, succeeded = device.observed[number]
            end = round(now + seconds, 6)  # records count microseconds; results of a batch came at the very same time
            return Work(end, "done" if succeeded else "failed", "it failed in the recorded run", is_recorded=True)
        whole = fetch + device.train_s + send
        if device.loss_rate and device.draw("loss", number) < device.loss_rate:
            return Work(now + whole * device.draw("loss time", number), "lost")
        if device.failure_rate and device.draw("failure", number) < device.failure_rate:
            return Work(now + whole * device.draw("failure time", number), "failed", "a simulated failure")
        if device.battery is not None and (left := self._level * device.battery.train_s) < device.train_s:
            return Work(now + fetch + left, "failed", "the battery is empty")
        return Work(now + whole, "done")
