"""The gateway itself: orders in, batches out; without HTTP, which :mod:`flare_edge.gateway.app` adds.

Three parties call it, from threads of their own. The leaf of the tree brings models and orders and reads reports;
devices poll and report results; the journal says that a result is on disk, and only then a device is told that it was
accepted.

An order is *open* until its device's result is accepted, it fails, or it is withdrawn. A result that was accepted waits
until a batch is made of all that wait: when all orders are answered, or some time after the first. Batches stay until
they are acknowledged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_edge.errors import EdgeError
from flare_edge.fixed_point import Scale
from flare_edge.gateway.journal import Journal
from flare_edge.gateway.models import Model, Models
from flare_edge.gateway.open_orders import OpenOrders
from flare_edge.gateway.pending import Pending
from flare_edge.gateway.presence import PresentDevices, Wake
from flare_edge.gateway.restoring import record_of, restored
from flare_edge.gateway.results import Over, Refused, Result
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import Batch, Order

if TYPE_CHECKING:
    from flare_edge.gateway.server import Server

log = logging.getLogger(__name__)


class Closed(EdgeError):
    """The gateway was closed."""


@dataclass(frozen=True)
class Report:
    """News of a gateway for its parent.

    Args:
        batch: results, or None.
        number: the batch's number, 0 without a batch.
        joined: devices that are available from now on.
        left: devices that are no longer available.
    """

    batch: Batch | None = None
    number: int = 0
    joined: Sequence[str] = ()
    left: Sequence[str] = ()


class Gateway:
    """The leaf of a tree: it hands orders to devices, and sums up their results; thread-safe.

    Args:
        name: the leaf's name; ids of its devices begin with it.
        folder: for the journal, and files for people.
        settings: of the site's owner.
        scale: of updates.
        config: the devices' configuration, which is sent with each task.
        job_name, description: of the job, for people at devices.
        update_timeout_s: results wait so long for others before they are reported.
        answer_within_s: an order that is not answered in time fails; None: the parent decides.
        min_devices_per_sum: sums of fewer devices are held back until there are more; the settings may want more.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: GatewaySettings,
        scale: Scale,
        config: Mapping[str, Any],
        *,
        job_name: str = "",
        description: str = "",
        update_timeout_s: float = 5.0,
        answer_within_s: float | None = None,
        min_devices_per_sum: int = 1,
    ) -> None:
        self.name = name
        self.folder = folder
        self.settings = settings
        self.scale = scale
        self.config = dict(config)
        self.job = {"name": job_name, "description": description, "config": self.config}
        self.answer_within_s = answer_within_s
        self.counts: Counter[str] = Counter()  # by kind of event; refusals as refused.<code>
        self._changed = threading.Condition()
        self._models = Models()
        self._open = OpenOrders(answer_within_s)
        self._presence = PresentDevices(settings.device_timeout_s)
        self._pending = Pending(update_timeout_s, max(min_devices_per_sum, settings.min_devices_per_sum))
        self._writing: dict[int, _Writing] = {}
        self._is_over = self._is_closed = False
        self._failure: OSError | None = None
        self._server: Server | None = None
        self._journal = Journal(folder / "journal")
        records, acknowledged = self._journal.replay(), self._journal.acknowledged
        state = restored(records, name, acknowledged, self._journal.last_results, self._encoded)
        self._number = state.number
        self._last = state.last  # by device: ticket and digest of its last result
        self._batches = state.batches
        self._answered = state.answered  # orders whose results are not acknowledged
        self._open.know(state.tickets)
        for order, result in state.results.values():
            self._pending.add(order, result, self._encoded(result), time.monotonic())

    def start(self) -> str:
        """Begin to serve devices; return the URL, which ends without a slash.

        Raises:
            EdgeError: the address, the certificate or the registry cannot be used; names it.
        """
        from flare_edge.gateway.server import Server  # a gateway without HTTP needs no web server

        self._server = Server(self)
        return self._server.url

    @property
    def join_link(self) -> str:
        """The link by which a device joins; without an invitation, if the site's owner makes those."""
        return self._started().join_link

    @property
    def url(self) -> str:
        """Where devices reach the gateway."""
        return self._started().url

    @property
    def is_over(self) -> bool:
        """True after :meth:`finish`."""
        return self._is_over

    def _started(self) -> Server:
        if self._server is None:
            raise EdgeError(f"the gateway {self.name} does not serve devices; call start() first")
        return self._server

    # Downwards: called by the leaf.

    def set_model(self, version: int, params: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Keep a version of the model for devices to fetch.

        Raises:
            EdgeError: a parameter is not floating-point, or the names or shapes are not those of other versions.
        """
        model = Model.of(version, params)
        with self._changed:
            self._models.add(version, model)

    def drop_model(self, version: int) -> None:
        """Forget a version; orders for it should be withdrawn first."""
        with self._changed:
            self._models.drop(version)
            self._pending.drop(version, time.monotonic())
            self._changed.notify_all()

    def give(self, orders: Sequence[Order]) -> None:
        """Take orders for devices; one that is open already, done or withdrawn is ignored.

        Raises:
            EdgeError: an order is for another gateway.
        """
        woken: list[Wake] = []
        with self._changed:
            now = time.monotonic()
            for order in orders:
                if order.gateway != self.name:
                    raise EdgeError(f"order {order.ticket} is for gateway {order.gateway!r}, this is {self.name!r}")
                if self._open.open(order, now) and (wake := self._presence.wait(order.device, None)):
                    woken.append(wake)
            self._changed.notify_all()  # there may be a new earliest deadline
        _call(woken)

    def expect(self, devices: Sequence[str]) -> None:
        """Take devices that the parent believes to be here for present, until they are silent for too long.

        After a restart a gateway knows no device before its next poll, but they may be at work.
        """
        with self._changed:
            self._presence.expect(devices, time.monotonic())
            self._changed.notify_all()

    def withdraw(self, tickets: Sequence[int]) -> None:
        """Forget open orders: results for them are refused."""
        with self._changed:
            for ticket in tickets:
                self._open.close(ticket)
            self._changed.notify_all()

    def acknowledge(self, number: int) -> None:
        """Forget batches up to a number: the parent has made them durable."""
        with self._changed:
            numbers = [each for each in self._batches if each <= number]
            for each in numbers:
                batch = self._batches.pop(each)
                for ticket in (*batch.done, *batch.failed):
                    self._answered.pop(ticket, None)
            if numbers:
                self._journal.forget(number, dict(self._last))

    def finish(self) -> None:
        """Tell devices from now on that the run is over."""
        with self._changed:
            self._is_over = True
            woken = self._presence.take_waiting()
        _call(woken)

    def close(self) -> None:
        """Wake whoever waits, and close the journal; results that were accepted stay in it.

        After :meth:`finish`, waits some seconds for the devices that were not told yet. Without it, devices find
        nobody, and try again.
        """
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            woken = self._presence.take_waiting()
            self._changed.notify_all()
        _call(woken)
        if self._server is not None:
            self._server.close()
        self._journal.close()
        counts = ", ".join(f"{event} {number}" for event, number in sorted(self.counts.items()))
        log.info("the gateway %s is closed; it has counted: %s", self.name, counts or "nothing")

    # Upwards: read by the leaf.

    def next_report(self) -> Report:
        """Wait for news, and return them.

        Raises:
            Closed: the gateway was closed.
            EdgeError: the journal cannot be written; names the folder.
        """
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._cannot_write(self._failure) from self._failure
                if self._is_closed:
                    raise Closed(f"the gateway {self.name} was closed")
                now = time.monotonic()
                self._expire(now)
                number = self._number + 1
                batch = self._take_batch(number, now)
                if batch is not None or self._presence.has_news:
                    break
                self._changed.wait(self._seconds_left(now))
            joined, left = self._presence.take_news()
            if batch is None:
                return Report(joined=joined, left=left)
            self._number = number
            devices = {self._answered[ticket].device: ticket for ticket in batch.failed if ticket in self._answered}
        try:
            self._journal.append_batch(number, list(batch.done), batch.failed, devices)
        except OSError as error:
            raise self._cannot_write(error) from error
        with self._changed:
            self._batches[number] = batch
        return Report(batch, number, joined, left)

    def open_tickets(self) -> list[Order]:
        """Return the orders that are not answered yet, those whose results are on their way to the disk included.

        Asked before :meth:`answered`, the two together have each order whose result may yet be reported.
        """
        with self._changed:
            return [*self._open, *(writing.order for writing in self._writing.values())]

    def answered(self) -> list[Order]:
        """Return the orders whose results are kept, or that have failed, until that is acknowledged."""
        with self._changed:
            return list(self._answered.values())

    def devices(self) -> list[str]:
        """Return the devices that are there now."""
        with self._changed:
            return list(self._presence)

    def unacknowledged(self) -> list[tuple[int, Batch]]:
        """Return the batches that are not acknowledged, with their numbers."""
        with self._changed:
            return sorted(self._batches.items())

    # Devices.

    def model(self, version: int) -> Model:
        """Return a version of the model.

        Raises:
            Refused: it is not kept.
        """
        with self._changed:
            model = self._models.get(version)
        if model is None:
            raise Refused(410, "unknown_version", f"version {version} of the model is not kept; ask for a task")
        return model

    @property
    def like(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """Parameters with the names, shapes and dtypes of all versions; empty before the first."""
        with self._changed:
            return self._models.like

    def poll(self, device: str, wake: Wake | None = None) -> Order | None:
        """Note that a device is present, and return its open order.

        Args:
            device: its id.
            wake: called once, from any thread, when there may be an order; unless there is one now. It replaces, and
                calls, that of an earlier poll.
        Raises:
            Over: the run is over.
        """
        with self._changed:
            if self._is_over:
                raise Over
            self._check_open()
            self._touch(device)
            if (order := self._open.of(device)) is not None:
                return order
            former = self._presence.wait(device, wake)
        if former is not None:
            former()
        return None

    def stop_waiting(self, device: str, wake: Wake) -> None:
        """End a poll that nobody waits for any more."""
        with self._changed:
            self._presence.stop_waiting(device, wake)

    def leave(self, device: str) -> None:
        """Note that a device has left; its open order fails."""
        with self._changed:
            self._presence.remove(device)
            if (order := self._open.of(device)) is not None:
                self._fail(order, "the device left")
            wake = self._presence.wait(device, None)
            self._changed.notify_all()
        if wake is not None:
            wake()

    def order(self, device: str, ticket: int) -> Order | None:
        """Return a device's order, or None if its result was accepted already.

        Raises:
            Refused: the order is another device's, or not known.
        """
        with self._changed:
            return self._find(device, ticket)

    def report(self, device: str, ticket: int, result: Result) -> Future[None]:
        """Accept a device's result; the future is done once that is on disk.

        The same result may be reported again and again, and counts once.

        Raises:
            Refused: the ticket is another device's, not known, or done with another result; or there is no room.
        """
        try:
            encoded = self._encoded(result)
        except EdgeError as error:
            raise Refused(422, "norm", str(error)) from error
        written: Future[None] = Future()
        with self._changed:
            self._check_open()
            order = self._find(device, ticket)
            if order is None:
                return self._repeated(device, ticket, result)
            if result.kind not in ("failed", order.kind):
                raise Refused(422, "kind", f"ticket {ticket} is to {order.kind}, the result is of kind {result.kind}")
            self._open.close(ticket)
            self._touch(device)
            self._writing[ticket] = _Writing(order, result.digest, written)

            def done(error: OSError | None) -> None:
                with self._changed:
                    del self._writing[ticket]
                    if error is None:
                        self._accept(order, result, encoded)
                    else:
                        self._open.open_again(order, time.monotonic())
                        self._failure = self._journal.broken
                    self._changed.notify_all()
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(Refused(503, "journal", "the result cannot be kept now; send it again"))

            self._journal.append(record_of(order, result), done)
        return written

    # Below, the lock is held.

    def _check_open(self) -> None:
        if self._is_closed:
            raise Refused(503, "closed", "the gateway is closing; try again")

    def _find(self, device: str, ticket: int) -> Order | None:
        if (order := self._open.get(ticket)) is not None:
            if order.device != device:
                raise Refused(403, "not_yours", f"ticket {ticket} is another device's")
            return order
        if ticket in self._writing and self._writing[ticket].order.device == device:
            return None
        if device in self._last and self._last[device][0] == ticket:
            return None
        raise Refused(404, "unknown_ticket", f"ticket {ticket} is not known: withdrawn, or never given to this device")

    def _repeated(self, device: str, ticket: int, result: Result) -> Future[None]:
        writing = self._writing.get(ticket)
        digest = self._last[device][1] if writing is None else writing.digest
        if digest != result.digest:
            raise Refused(409, "other_result", f"ticket {ticket} is done, with another result")
        self.counts["repeated"] += 1
        if writing is not None:
            return writing.future
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _accept(self, order: Order, result: Result, encoded: Mapping[str, Any] | None) -> None:
        self._last[order.device] = order.ticket, result.digest
        self._answered[order.ticket] = order
        self._pending.add(order, result, encoded, time.monotonic())
        self.counts["failed" if result.kind == "failed" else "results"] += 1

    def _fail(self, order: Order, reason: str) -> None:
        self._open.close(order.ticket)
        self._answered[order.ticket] = order
        self._pending.fail(order.ticket, reason, time.monotonic())

    def _touch(self, device: str) -> None:
        if self._presence.touch(device, time.monotonic()):
            self._changed.notify_all()

    def _take_batch(self, number: int, now: float) -> Batch | None:
        if not self._pending.is_due(now, is_answered=not self._open and not self._writing):
            return None
        return self._pending.take({self.name: number}, now, {order.version for order in self._open})

    def _expire(self, now: float) -> None:
        """Let go of devices that are silent, and of orders that are not answered in time."""
        for device in self._presence.remove_silent(now, lambda device: self._open.of(device) is not None):
            if (order := self._open.of(device)) is not None:
                self._fail(order, "the device did not come back after a restart of the gateway")
        for order in self._open.late(now):
            self._fail(order, f"no answer within {self.answer_within_s:g} s")
            if not self._presence.is_waiting(order.device):
                self._presence.remove(order.device)

    def _seconds_left(self, now: float) -> float | None:
        """Return the time until the next deadline."""
        deadlines = [self._pending.deadline, self._presence.deadline, self._open.deadline]
        known = [deadline for deadline in deadlines if deadline is not None]
        return max(0.0, min(known) - now) if known else None

    def _encoded(self, result: Result) -> Mapping[str, Any] | None:
        return None if result.update is None else self.scale.encode(result.update, result.weight)

    def _cannot_write(self, error: OSError) -> EdgeError:
        return EdgeError(f"the journal in {self.folder} cannot be written: {error}; make room and restart")


@dataclass(frozen=True)
class _Writing:
    """A result on its way to the disk."""

    order: Order
    digest: str
    future: Future[None]


def _call(woken: Sequence[Wake]) -> None:
    for wake in woken:
        wake()
