"""A fleet in simulated time: the server's FedBuff, the gateways' batching and the devices' training, event by event."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TextIO

from flare_core.optimizers import ServerOptimizer
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import FedBuffSettings, NewVersion, RecordedFedBuff, combined
from flare_edge.fixed_point import Array, metric_value
from flare_edge.gateway.pending import Pending
from flare_edge.gateway.results import Result
from flare_edge.messages import Order
from flare_edge.virtual.clock import Clock
from flare_edge.virtual.fleet import DAY, Device
from flare_edge.virtual.history import History, Target, VersionMade
from flare_edge.virtual.phones import Phone, Work
from flare_edge.virtual.training import Trained, Training


class _Leaf:
    """A gateway."""

    def __init__(self, name: str, pending: Pending) -> None:
        self.name = name
        self.pending = pending
        self.open: Counter[int] = Counter()  # orders that are not answered, by version
        self.number = 0  # of its last batch
        self.timer: float | None = None  # the next time at which it looks for a batch
        self.news: list[tuple[bool, str]] = []  # devices that came (True) or left, in order


class Simulation:
    """A run in simulated time. It is the same for the same arguments, on any machine.

    The server's decisions are those of :class:`~flare_edge.fedbuff.FedBuff`, and the gateways' batches those of a real
    gateway; messages between them take no time. Devices compute real updates with the params that they received.

    Args:
        settings: of the run.
        devices: the fleet.
        training: the model, and the devices' data.
        seed: of the choice of devices.
        optimizer: of the server, see :func:`~flare_edge.fedbuff.combined`.
        answer_within_s: an order that is not answered in time fails; None: no limit, as long as no device gets lost.
        min_devices_per_sum: gateways hold back sums of fewer devices.
        limit_s: the run ends at this simulated time.
        target: the run ends when it is reached.
        evaluate_every: every so many versions are evaluated by :meth:`~flare_edge.virtual.Training.evaluate`.
        record: a text stream for the inputs and decisions, see :mod:`flare_edge.fedbuff.record`.
    Raises:
        EdgeError: devices get lost, but there is no ``answer_within_s``; or two devices have the same name.
    """

    def __init__(
        self,
        settings: FedBuffSettings,
        devices: Sequence[Device],
        training: Training,
        *,
        seed: int = 0,
        optimizer: ServerOptimizer | None = None,
        answer_within_s: float | None = None,
        min_devices_per_sum: int = 1,
        limit_s: float = 30 * DAY,
        target: Target | None = None,
        evaluate_every: int = 1,
        record: TextIO | None = None,
    ) -> None:
        if answer_within_s is None and any(device.loss_rate for device in devices):
            raise EdgeError("devices get lost (loss_rate) and would never answer; give answer_within_s")
        self.settings = settings
        self.history = History()
        self._machine = RecordedFedBuff(settings, seed)
        self._clock = Clock()
        if record is not None:
            self._machine.begin_record(record, lambda: self._clock.now)
        self._training = training
        self._optimizer = optimizer
        self._answer_within_s = answer_within_s
        self._limit_s = limit_s
        self._target = target
        self._evaluate_every = evaluate_every
        self._scale = settings.models.scale
        self._phones = {device.name: Phone(number, device) for number, device in enumerate(devices)}
        if len(self._phones) < len(devices):
            raise EdgeError("two devices of the fleet have the same name")
        self._leaves = {
            name: _Leaf(name, Pending(settings.models.update_timeout, min_devices_per_sum))
            for name in dict.fromkeys(device.gateway for device in devices)
        }
        self._changed: dict[str, _Leaf] = {}  # leaves with news for the server
        self._models: dict[int, dict[str, Array]] = {0: training.initial()}
        self._size = sum(value.nbytes for value in self._models[0].values())
        self._at_work: dict[int, Phone] = {}  # by ticket
        self._is_over = False

    def run(self, progress: Callable[[VersionMade], None] = lambda _: None) -> History:
        """Run to the end, and return what has happened.

        Args:
            progress: called for each version that was made.
        Raises:
            EdgeError: an update cannot be used.
        """
        started = time.perf_counter()
        history, clock = self.history, self._clock
        for phone in self._phones.values():
            self._plan_session(phone)
        while not self._is_over:
            if clock.next_time > self._limit_s:
                limit = f"the limit of {self._limit_s:,.0f} s is reached"
                history.outcome = f"{limit}; {stalled}" if (stalled := self._machine.stalled()) else limit
                break
            clock.step()
            while self._changed and not self._is_over:
                self._report(progress)
        history.seconds = clock.now
        history.wall_s = time.perf_counter() - started
        history.params = self._models[self._machine.version]
        return history

    # Devices.

    def _plan_session(self, phone: Phone) -> None:
        """Plan when a device comes next, from its sessions."""
        start, end = next(phone.sessions, (math.inf, math.inf))
        self._clock.at(start, partial(self._come, phone, end))

    def _come(self, phone: Phone, end: float) -> None:
        phone.online_until = end
        self._clock.at(end, partial(self._go, phone, end))
        self._offer(phone)

    def _go(self, phone: Phone, end: float) -> None:
        if phone.online_until == end:
            self._leave(phone, "the device left")
            self._plan_session(phone)

    def _offer(self, phone: Phone) -> None:
        """Let a device ask for work, now or when its battery is full enough; its session may be over by then."""
        now = self._clock.now
        if not now < phone.online_until:
            return
        if (ready := phone.ready_at(now)) > now:
            self._clock.at(ready, partial(self._offer, phone))
            return
        self.history.check_ins += 1
        self._tell(phone, is_there=True)

    def _leave(self, phone: Phone, reason: str) -> None:
        if phone.order is not None and not self._keep(phone):
            self._fail(phone, phone.order, reason)
        self._tell(phone, is_there=False)

    def _tell(self, phone: Phone, *, is_there: bool) -> None:
        leaf = self._leaf(phone)
        leaf.news.append((is_there, phone.device.name))
        self._changed[leaf.name] = leaf

    def _begin(self, order: Order) -> None:
        phone = self._phones[order.device]
        self._leaf(phone).open[order.version] += 1
        self._at_work[order.ticket] = phone
        self.history.orders += 1
        work = phone.begin(order, self._clock.now, self._size)
        self._clock.at(work.end, partial(self._end, phone, order, work))
        if self._answer_within_s is not None:
            self._clock.at(self._clock.now + self._answer_within_s, partial(self._time_out, phone, order))

    def _end(self, phone: Phone, order: Order, work: Work) -> None:
        if phone.order != order:
            return  # withdrawn, or the device left
        if work.outcome == "lost":
            return  # the order stays open until it is timed out
        if work.outcome == "failed":
            self._fail(phone, order, work.reason)
        else:
            self._accept(phone, order)
        self._after_work(phone)

    def _accept(self, phone: Phone, order: Order, at: float | None = None) -> None:
        """Let the gateway have a device's result, now or later."""
        params = self._models[order.version]
        if order.kind == "train":
            trained = self._training.train(phone.number, params, phone.orders - 1)
            encoded = self._scale.encode(trained.update, trained.weight)
        else:
            trained, encoded = self._training.measure(phone.number, params), None
        leaf = self._close(phone, order)
        deliver = partial(self._deliver, leaf, order, _result(order.kind, trained), encoded)
        if at is None:
            deliver()
        else:
            self._clock.at(at, deliver)

    def _deliver(self, leaf: _Leaf, order: Order, result: Result, encoded: Mapping[str, Array] | None) -> None:
        leaf.pending.add(order, result, encoded, self._clock.now)
        self._changed[leaf.name] = leaf
        self.history.results += 1

    def _keep(self, phone: Phone) -> bool:
        """End a device's work, and return True, if its result comes nevertheless."""
        if phone.order is None or phone.work is None or not phone.work.is_safe:
            return False
        self._accept(phone, phone.order, at=phone.work.end)
        return True

    def _fail(self, phone: Phone, order: Order, reason: str) -> None:
        leaf = self._close(phone, order)
        leaf.pending.fail(order.ticket, reason, self._clock.now)
        self.history.failures += 1

    def _time_out(self, phone: Phone, order: Order) -> None:
        if phone.order == order:
            self._leave(phone, "no answer in time")
            self._offer(phone)

    def _after_work(self, phone: Phone) -> None:
        """Let a device ask for more work, or rest until its battery is charged."""
        if phone.ready_at(self._clock.now) > self._clock.now:
            self._leave(phone, "")
            self._offer(phone)
        elif self._clock.now < phone.online_until:
            self.history.check_ins += 1

    def _close(self, phone: Phone, order: Order) -> _Leaf:
        phone.stop(self._clock.now)
        del self._at_work[order.ticket]
        leaf = self._leaf(phone)
        leaf.open[order.version] -= 1
        if not leaf.open[order.version]:
            del leaf.open[order.version]
        self._changed[leaf.name] = leaf
        return leaf

    def _leaf(self, phone: Phone) -> _Leaf:
        return self._leaves[phone.device.gateway]

    # Gateways and server.

    def _report(self, progress: Callable[[VersionMade], None]) -> None:
        """Let gateways report, and the server decide."""
        leaves, self._changed = list(self._changed.values()), {}
        for leaf in leaves:
            for is_there, news in groupby(leaf.news, key=itemgetter(0)):
                tell = self._machine.join if is_there else self._machine.leave
                tell(leaf.name, [name for _, name in news])
            leaf.news = []
            self._flush(leaf)
        self._decide(progress)

    def _flush(self, leaf: _Leaf) -> None:
        """Send the server a batch, if one is due."""
        now = self._clock.now
        if leaf.pending.is_due(now, is_answered=not leaf.open):
            batch = leaf.pending.take({leaf.name: leaf.number + 1}, now, leaf.open.keys())
            if batch is not None:
                leaf.number += 1
                self._machine.merge(batch)
        deadline = leaf.pending.deadline
        if deadline is not None and deadline != leaf.timer:
            leaf.timer = deadline
            self._clock.at(deadline, partial(self._wake, leaf))

    def _wake(self, leaf: _Leaf) -> None:
        leaf.timer = None
        self._changed[leaf.name] = leaf

    def _decide(self, progress: Callable[[VersionMade], None]) -> None:
        history, machine = self.history, self._machine
        decisions = machine.decide()
        for each in decisions.dropped:
            history.dropped[each.reason] = history.dropped.get(each.reason, 0) + each.count
        history.evaluations.update(decisions.evaluations)
        if decisions.version is not None:
            self._make(decisions.version, progress)
        for ticket in decisions.withdrawn:
            if (phone := self._at_work.get(ticket)) is not None and phone.order is not None:
                history.withdrawn += 1
                if not self._keep(phone):
                    self._close(phone, phone.order)
                self._after_work(phone)
        for version in self._models.keys() - set(machine.active_versions):
            del self._models[version]
        for order in decisions.orders:
            self._begin(order)
        if decisions.is_over:
            self._is_over = True
            history.outcome = f"version {machine.version} is made, the last"
        history.in_flight.add(self._clock.now, machine.working)
        history.there.add(self._clock.now, machine.joined)

    def _make(self, new: NewVersion, progress: Callable[[VersionMade], None]) -> None:
        models = self.settings.models
        params = combined(new, self._scale, self._models[new.version - 1], models.global_lr, self._optimizer)
        self._models[new.version] = params
        metrics = self._training.evaluate(params) if new.version % self._evaluate_every == 0 else {}
        made = VersionMade(self._clock.now, new.version, new.count, new.ages, new.metrics, metrics)
        self.history.versions.append(made)
        progress(made)
        if self._target is not None and self._target.is_reached(self.history.versions):
            self._is_over = True
            self.history.reached = self._clock.now
            self.history.outcome = (
                f"{self._target.metric} has reached {self._target.value:g} with version {new.version}"
            )


def _result(kind: str, trained: Trained) -> Result:
    metrics = {name: metric_value(value) for name, value in trained.metrics.items()}
    return Result(kind, "", trained.weight, metrics)
