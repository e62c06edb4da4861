"""FedBuff, which decides everything about a run: who works on which version, and when a version is made."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from flare_core.staleness import discount
from flare_edge.errors import EdgeError
from flare_edge.fedbuff.decisions import Decisions, NewVersion
from flare_edge.fedbuff.evaluation import Evaluations
from flare_edge.fedbuff.orders import Outstanding
from flare_edge.fedbuff.selection import Devices
from flare_edge.fedbuff.settings import FedBuffSettings
from flare_edge.fedbuff.sums import means
from flare_edge.fedbuff.waiting import Waiting
from flare_edge.messages import Batch, Order

logger = logging.getLogger("flare_edge")

EXPONENT = 0.5
"""An update of age a is discounted by (1 + a) ** -EXPONENT."""

_LIFE_BITS = 32


class FedBuff:
    """Buffered asynchronous aggregation as a state machine, without clock, threads and I/O.

    Inputs come in by :meth:`join`, :meth:`leave`, :meth:`merge` and :meth:`expire`; :meth:`decide` says what follows
    from them. The same inputs in the same order give the same decisions, so a run can be simulated in virtual time, and
    a recorded one replayed.

    Args:
        settings: of the run.
        seed: of the choice of devices.

    Source: Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", arXiv:2106.06639.
    """

    def __init__(self, settings: FedBuffSettings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.version = 0
        """The newest version of the model; 0 is the initial one."""
        self._devices = Devices(seed, reuse=settings.devices.device_reuse)
        self._outstanding = Outstanding()
        self._evaluations = Evaluations()
        self._received: dict[str, int] = {}
        self._waiting = Waiting(self._is_kept)
        self._withdrawn: list[int] = []
        self._lives = 0
        self._tickets = 0

    @property
    def received(self) -> dict[str, int]:
        """By leaf, the number of its last batch that was merged; may be acknowledged once :meth:`state` is kept."""
        return dict(self._received)

    @property
    def working(self) -> int:
        """The number of devices with an open order to train."""
        return self._outstanding.training

    @property
    def available(self) -> int:
        """The number of devices that can be chosen."""
        return self._devices.free

    @property
    def joined(self) -> int:
        """The number of devices that are there, working or not."""
        return len(self._devices)

    @property
    def waiting(self) -> int:
        """The number of updates that wait for the next version."""
        return self._waiting.count

    @property
    def active_versions(self) -> list[int]:
        """The versions that devices work on, and the newest: those of which a gateway needs the model."""
        return sorted({self.version, *self._outstanding.versions()})

    def devices(self, gateway: str) -> list[str]:
        """Return the devices of a gateway that are there, working or not."""
        return self._devices.of(gateway)

    def join(self, gateway: str, devices: Iterable[str]) -> None:
        """Add devices that can work; those already there stay as they are.

        Args:
            gateway: the leaf that they are connected to.
            devices: their ids, unique in the run.
        Raises:
            EdgeError: a device is at another gateway.
        """
        devices = list(devices)
        for device in devices:
            if (other := self._devices.gateway(device)) not in {None, gateway}:
                raise EdgeError(f"device {device} joins {gateway}, but is at {other}; ids must be unique in the run")
        self._devices.join(gateway, devices)

    def leave(self, gateway: str, devices: Iterable[str] | None = None) -> None:
        """Remove devices; their open orders expire, see :meth:`expire`.

        Args:
            gateway: the leaf that they were connected to.
            devices: their ids; None for all devices of the gateway.
        """
        for device in self._devices.of(gateway) if devices is None else devices:
            if self._devices.gateway(device) == gateway:
                self._devices.leave(device)
                if (ticket := self._outstanding.open_ticket(device)) is not None:
                    self._withdraw(ticket)

    def merge(self, batch: Batch) -> bool:
        """Add a batch, once.

        A sum is used if its version is kept and its updates are those of tickets that were given to the batch's leaves
        and have not been reported; else it is dropped as a whole, logged, and listed in the next decisions.

        Returns:
            False if the batch was merged before; then it changes nothing.
        Raises:
            EdgeError: a part of the batch was merged before, or its arrays do not match those of earlier ones; nothing
                was added.
        """
        known = {leaf: number <= self._received.get(leaf, 0) for leaf, number in batch.leaves.items()}
        if known and all(known.values()):
            return False
        if any(known.values()):
            leaf = next(leaf for leaf, is_known in known.items() if is_known)
            raise EdgeError(
                f"a batch of {sorted(batch.leaves)} holds {leaf}'s batch {batch.leaves[leaf]}, which was merged before,"
                " beside new ones; a node must resend a batch unchanged"
            )
        orders = [
            order
            for ticket in dict.fromkeys(batch.done)
            if (order := self._outstanding.get(ticket)) is not None and order.gateway in batch.leaves
        ]
        self._evaluations.add(self._waiting.add(batch.sums, orders))
        self._received.update(batch.leaves)
        for order in orders:
            self._close(order, failed=False)
        for ticket, reason in batch.failed.items():
            failing = self._outstanding.get(ticket)
            if failing is not None and failing.gateway in batch.leaves:
                logger.info("device %s did not finish order %d: %s", failing.device, ticket, reason)
                self._close(failing, failed=True)
        return True

    def expire(self, tickets: Iterable[int]) -> None:
        """Withdraw orders, so that others get their places.

        A result that comes nevertheless counts, once, as long as its version is kept.
        """
        for ticket in tickets:
            self._withdraw(ticket)

    def adopt(self, gateway: str, orders: Sequence[Order], answered: Sequence[Order] = ()) -> list[Order]:
        """Agree with a gateway on its orders, after a restart of the server or of the gateway.

        Orders that an earlier life of the server gave and this one does not know are open from now on; those of
        versions that are not kept, or not yet made, are withdrawn.

        Args:
            gateway: the leaf.
            orders: all its open orders.
            answered: all its orders whose results the server has not acknowledged; they count when they come.
        Returns:
            The orders that are open here and that the gateway has not named. They stay open, so give them to it again.
        """
        for order in answered:
            self._outstanding.remember(order)
        for order in orders:
            if not self._is_kept(order.version):
                self._withdrawn.append(order.ticket)
                continue
            earlier = self._outstanding.open_ticket(order.device)
            if earlier is not None and earlier != order.ticket:
                self._withdraw(earlier)
            self._devices.join(gateway, [order.device])
            self._devices.start(order.device)
            self._outstanding.open(order)
        named = {order.ticket for order in (*orders, *answered)}
        return [order for order in self._outstanding.opened(gateway) if order.ticket not in named]

    def begin_life(self) -> None:
        """Give out tickets that no earlier life of the server has given out; call it after a restart.

        Orders that were given after the last state was kept are unknown, but their tickets may still be at gateways.
        """
        self._lives += 1
        self._tickets = 0

    def decide(self) -> Decisions:
        """Return what follows from the inputs so far; call it after each input, or after several."""
        version = self._make_version() if self._is_version_due() else None
        if self.version >= self.settings.models.max_model_version:
            self._withdraw_all("train")
            orders = self._evaluation_orders(version)
        else:
            orders = self._evaluation_orders(version) + self._training_orders()
        evaluations = self._evaluations.completed()
        is_over = self.version >= self.settings.models.max_model_version and not self._evaluations.pending
        withdrawn, self._withdrawn = self._withdrawn, []
        return Decisions(orders, withdrawn, version, self._waiting.take_dropped(), evaluations, is_over)

    def stalled(self) -> str | None:
        """Return why the run cannot go on without further devices, in a sentence; None if it can."""
        if self.version >= self.settings.models.max_model_version or self._outstanding:
            return None
        needed = self.settings.devices.min_hole_to_fill
        return (
            f"no device works: {self.joined} are there, of which {self.available} can be chosen, and {needed} are"
            f" needed at once (min_hole_to_fill); {self.waiting} updates wait for version {self.version + 1}"
        )

    def state(self) -> dict[str, Any]:
        """Return the state as nested dicts of JSON values and int64 arrays, which do not change afterwards."""
        return {
            "version": self.version,
            "lives": self._lives,
            "tickets": self._tickets,
            "received": dict(self._received),
            "devices": self._devices.state(),
            "outstanding": self._outstanding.state(),
            "evaluations": self._evaluations.state(),
            "waiting": self._waiting.state(),
            "withdrawn": list(self._withdrawn),
        }

    @classmethod
    def restored(cls, settings: FedBuffSettings, seed: int, state: Mapping[str, Any]) -> Self:
        """Return a machine that goes on as the one whose state it is would have.

        Args:
            settings: of the run.
            seed: of the choice of devices.
            state: from :meth:`state`.
        """
        machine = cls(settings, seed)
        machine.version = int(state["version"])
        machine._lives = int(state["lives"])
        machine._tickets = int(state["tickets"])
        machine._received = {leaf: int(number) for leaf, number in state["received"].items()}
        machine._devices.restore(state["devices"])
        machine._outstanding.restore(state["outstanding"])
        machine._evaluations.restore(state["evaluations"])
        machine._waiting.restore(state["waiting"])
        machine._withdrawn = list(state["withdrawn"])
        return machine

    def _is_kept(self, version: int) -> bool:
        history = self.settings.models.max_model_history
        return version <= self.version and (history is None or self.version - version < history)

    def _is_version_due(self) -> bool:
        models = self.settings.models
        return self.version < models.max_model_version and self.waiting >= models.num_updates_for_model

    def _make_version(self) -> NewVersion:
        sums = self._waiting.take()
        exponent = EXPONENT if self.settings.models.staleness_weight else 0.0
        factors = {version: discount(self.version - version, exponent) for version in sums}
        self.version += 1
        self._give_up_old_orders()
        return NewVersion(self.version, sums, factors, means(sums.values()))

    def _give_up_old_orders(self) -> None:
        active = self.settings.models.max_num_active_model_versions
        for version in self._outstanding.versions():
            age = self.version - version
            if not self._is_kept(version) or (active is not None and age >= active):
                for order in self._outstanding.of(version):
                    self._withdraw(order.ticket)
        for version in self._outstanding.remembered():
            if not self._is_kept(version):
                self._outstanding.forget(version)

    def _withdraw_all(self, kind: str) -> None:
        for version in self._outstanding.versions():
            for order in self._outstanding.of(version):
                if order.kind == kind:
                    self._withdraw(order.ticket)

    def _withdraw(self, ticket: int) -> None:
        order = self._outstanding.withdraw(ticket)
        if order is not None:
            self._withdrawn.append(ticket)
            self._devices.stop(order.device)
            self._evaluations.finish(order)

    def _close(self, order: Order, *, failed: bool) -> None:
        if self._outstanding.close(order.ticket):
            self._devices.finish(order.device, failed=failed)
            self._evaluations.finish(order)

    def _training_orders(self) -> list[Order]:
        devices = self.settings.devices
        number = min(devices.device_selection_size - self.working, self.available)
        return self._orders("train", number) if number >= devices.min_hole_to_fill else []

    def _evaluation_orders(self, version: NewVersion | None) -> list[Order]:
        evaluation = self.settings.evaluation
        if version is None or evaluation is None or not evaluation.num_devices:
            return []
        is_last = self.version == self.settings.models.max_model_version
        if self.version % evaluation.eval_frequency and not is_last:
            return []
        orders = self._orders("evaluate", evaluation.num_devices)
        self._evaluations.begin(self.version, orders)
        return orders

    def _orders(self, kind: str, number: int) -> list[Order]:
        orders: list[Order] = []
        while len(orders) < number and (device := self._devices.choose()) is not None:
            self._tickets += 1
            ticket = (self._lives << _LIFE_BITS) + self._tickets
            order = Order(ticket, self._devices.gateway(device) or "", device, self.version, kind)
            self._outstanding.open(order)
            orders.append(order)
        return orders
