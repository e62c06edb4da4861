"""The gateway itself: orders in, batches out; without HTTP, which :mod:`flare_edge.gateway.app` adds.

Three parties call it, from threads of their own. The leaf of the tree brings models and orders and reads reports;
devices poll and report results; the journal says that a result is on disk, and only then a device is told that it was
accepted.

An order is *open* until its device's result is accepted, it fails, or it is withdrawn. A result that was accepted waits
until a batch is made of all that wait: when all orders are answered, or some time after the first. Batches stay until
they are acknowledged.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_edge.device.safetensors import dumps, loads
from flare_edge.errors import EdgeError
from flare_edge.fixed_point import Scale
from flare_edge.gateway.journal import Journal, Record
from flare_edge.gateway.pending import Pending
from flare_edge.gateway.results import Refused, Result
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import Batch, Order

if TYPE_CHECKING:
    from flare_edge.gateway.server import Server

log = logging.getLogger(__name__)

Wake = Callable[[], None]


class Closed(EdgeError):
    """The gateway was closed."""


class Over(Refused):
    """The run is over: there are no more orders."""

    def __init__(self) -> None:
        super().__init__(410, "over", "the run is over")


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


@dataclass(frozen=True)
class Model:
    """A version that devices can fetch."""

    params: Mapping[str, np.ndarray[Any, Any]]
    content: bytes = field(repr=False)
    etag: str


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
        min_devices_per_sum: sums of fewer devices are held back until there are more.
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
        self._models: dict[int, Model] = {}
        self._like: Mapping[str, np.ndarray[Any, Any]] = {}  # any version: all have the same names, shapes and dtypes
        self._open: OrderedDict[int, tuple[Order, float]] = OrderedDict()  # with the time when it was given
        self._order_of: dict[str, int] = {}
        self._writing: dict[int, _Writing] = {}
        self._last: dict[str, tuple[int, str]] = {}  # by device: ticket and digest of its last result
        self._given: dict[str, int] = {}  # by device: its newest ticket; those of one device grow
        self._answered: dict[int, Order] = {}  # results that are not acknowledged
        self._seen: OrderedDict[str, float] = OrderedDict()  # present devices, in the order of their last contact
        self._expected: OrderedDict[str, float] = OrderedDict()  # devices that the parent believes to be here
        self._waiting: dict[str, Wake] = {}
        self._joined: dict[str, None] = {}
        self._left: dict[str, None] = {}
        self._pending = Pending(update_timeout_s, min_devices_per_sum)
        self._batches: dict[int, Batch] = {}
        self._number = 0
        self._is_over = self._is_closed = False
        self._failure: OSError | None = None
        self._server: Server | None = None
        self._journal = Journal(folder / "journal")
        self._replay()

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
        for name, value in params.items():
            if value.dtype.kind != "f" or value.dtype.itemsize > 8:
                raise EdgeError(
                    f"parameter {name!r} is {value.dtype}; devices can train floating-point parameters only"
                )
        shapes = {name: (value.shape, value.dtype) for name, value in params.items()}
        with self._changed:
            if self._like and shapes != {name: (value.shape, value.dtype) for name, value in self._like.items()}:
                raise EdgeError(
                    f"version {version} of the model has other names, shapes or dtypes than earlier versions"
                )
            self._like = dict(params)
        content = dumps(params, {"version": str(version)})
        model = Model(dict(params), content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        with self._changed:
            self._models[version] = model

    def drop_model(self, version: int) -> None:
        """Forget a version; orders for it should be withdrawn first."""
        with self._changed:
            self._models.pop(version, None)
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
                if order.ticket <= self._given.get(order.device, 0):
                    continue
                self._given[order.device] = order.ticket
                self._open[order.ticket] = order, now
                self._order_of[order.device] = order.ticket
                if wake := self._waiting.pop(order.device, None):
                    woken.append(wake)
            self._changed.notify_all()  # there may be a new earliest deadline
        for wake in woken:
            wake()

    def expect(self, devices: Sequence[str]) -> None:
        """Take devices that the parent believes to be here for present, until they are silent for too long.

        After a restart a gateway knows no device before its next poll, but they may be at work.
        """
        with self._changed:
            now = time.monotonic()
            for device in devices:
                if device not in self._seen:
                    self._expected[device] = now
                    self._expected.move_to_end(device)
            self._changed.notify_all()

    def withdraw(self, tickets: Sequence[int]) -> None:
        """Forget open orders: results for them are refused."""
        with self._changed:
            for ticket in tickets:
                self._close_order(ticket)
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
            woken = list(self._waiting.values())
            self._waiting.clear()
        for wake in woken:
            wake()

    def close(self) -> None:
        """Wake whoever waits, and close the journal; results that were accepted stay in it.

        Devices find nobody and try again, unless they were told by :meth:`finish`.
        """
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            woken = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify_all()
        for wake in woken:
            wake()
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
                    raise EdgeError(
                        f"the journal in {self.folder} cannot be written: {self._failure}"
                    ) from self._failure
                if self._is_closed:
                    raise Closed(f"the gateway {self.name} was closed")
                now = time.monotonic()
                self._expire(now)
                number = self._number + 1
                batch = self._take_batch(number, now)
                if batch is not None or self._joined or self._left:
                    break
                self._changed.wait(self._seconds_left(now))
            joined, left = list(self._joined), list(self._left)
            self._joined, self._left = {}, {}
            if batch is not None:
                self._number = number
        if batch is None:
            return Report(joined=joined, left=left)
        try:
            self._journal.append_batch(number, list(batch.done), batch.failed)
        except OSError as error:
            raise EdgeError(
                f"the journal in {self.folder} cannot be written: {error}; make room and restart"
            ) from error
        with self._changed:
            self._batches[number] = batch
        return Report(batch, number, joined, left)

    def open_tickets(self) -> list[Order]:
        """Return the orders that are not answered yet."""
        with self._changed:
            return [order for order, _ in self._open.values()]

    def answered(self) -> list[Order]:
        """Return the orders whose results are kept, or that have failed, until that is acknowledged."""
        with self._changed:
            return list(self._answered.values())

    def devices(self) -> list[str]:
        """Return the devices that are there now."""
        with self._changed:
            return list(self._seen)

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
            if version not in self._models:
                raise Refused(410, "unknown_version", f"version {version} of the model is not kept; ask for a task")
            return self._models[version]

    @property
    def like(self) -> Mapping[str, np.ndarray[Any, Any]]:
        """Parameters with the names, shapes and dtypes of all versions; empty before the first."""
        with self._changed:
            return self._like

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
            self._check_open()
            self._touch(device)
            ticket = self._order_of.get(device)
            if ticket is not None:
                return self._open[ticket][0]
            former = self._waiting.pop(device, None)
            if wake is not None:
                self._waiting[device] = wake
        if former is not None:
            former()
        return None

    def stop_waiting(self, device: str, wake: Wake) -> None:
        """End a poll that nobody waits for any more."""
        with self._changed:
            if self._waiting.get(device) is wake:
                del self._waiting[device]

    def leave(self, device: str) -> None:
        """Note that a device has left; its open order fails."""
        with self._changed:
            self._remove(device, "the device left")
            wake = self._waiting.pop(device, None)
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
            if self._is_closed:
                raise Refused(503, "closed", "the gateway is closing; try again")
            order = self._find(device, ticket)
            if order is None:
                return self._repeated(device, ticket, result)
            if result.kind not in ("failed", order.kind):
                raise Refused(422, "kind", f"ticket {ticket} is to {order.kind}, the result is of kind {result.kind}")
            _, given = self._open[ticket]
            self._close_order(ticket)
            self._touch(device)
            self._writing[ticket] = _Writing(device, result.digest, written)

            def done(error: OSError | None) -> None:
                with self._changed:
                    del self._writing[ticket]
                    if error is None:
                        self._accept(order, result, encoded)
                    else:
                        self._open[ticket] = order, given
                        self._order_of.setdefault(device, ticket)
                        self._failure = self._journal.broken
                    self._changed.notify_all()
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(Refused(503, "journal", "the result cannot be kept now; send it again"))

            self._journal.append(_record(order, result), done)
        return written

    # Below, the lock is held.

    def _take_batch(self, number: int, now: float) -> Batch | None:
        if not self._pending.is_due(now, is_answered=not self._open and not self._writing):
            return None
        return self._pending.take({self.name: number}, now, {order.version for order, _ in self._open.values()})

    def _check_open(self) -> None:
        if self._is_over:
            raise Over
        if self._is_closed:
            raise Refused(503, "closed", "the gateway is closing; try again")

    def _find(self, device: str, ticket: int) -> Order | None:
        if ticket in self._open:
            order, _ = self._open[ticket]
            if order.device != device:
                raise Refused(403, "not_yours", f"ticket {ticket} is another device's")
            return order
        if ticket in self._writing and self._writing[ticket].device == device:
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

    def _close_order(self, ticket: int) -> None:
        entry = self._open.pop(ticket, None)
        if entry is not None and self._order_of.get(entry[0].device) == ticket:
            del self._order_of[entry[0].device]

    def _fail(self, ticket: int, reason: str) -> None:
        order, _ = self._open[ticket]
        self._close_order(ticket)
        self._answered[ticket] = order
        self._pending.fail(ticket, reason, time.monotonic())

    def _touch(self, device: str) -> None:
        self._expected.pop(device, None)
        if device not in self._seen:
            if device in self._left:  # and was not reported yet
                del self._left[device]
            else:
                self._joined[device] = None
            self._changed.notify_all()
        self._seen[device] = time.monotonic()
        self._seen.move_to_end(device)

    def _remove(self, device: str, reason: str) -> None:
        if self._expected.pop(device, None) is not None:
            self._left[device] = None
        if self._seen.pop(device, None) is not None:
            if device in self._joined:
                del self._joined[device]
            else:
                self._left[device] = None
        ticket = self._order_of.get(device)
        if ticket is not None:
            self._fail(ticket, reason)

    def _expire(self, now: float) -> None:
        """Let go of devices that are silent, and of orders that are not answered in time."""
        timeout = self.settings.device_timeout_s
        while self._expected and now >= next(iter(self._expected.values())) + timeout:
            device, _ = self._expected.popitem(last=False)
            self._left[device] = None
            if (ticket := self._order_of.get(device)) is not None:
                self._fail(ticket, "the device did not come back after a restart of the gateway")
        for _ in range(len(self._seen)):
            device, last = next(iter(self._seen.items()))
            if now < last + timeout:
                break
            if device in self._waiting or device in self._order_of:
                self._seen[device] = now
                self._seen.move_to_end(device)
            else:
                self._remove(device, "")
        while self.answer_within_s is not None and self._open:
            ticket, (order, given) = next(iter(self._open.items()))
            if now < given + self.answer_within_s:
                break
            self._fail(ticket, f"no answer within {self.answer_within_s:g} s")
            if order.device not in self._waiting:
                self._remove(order.device, "")

    def _seconds_left(self, now: float) -> float | None:
        """Return the time until the next deadline."""
        deadlines = []
        if (due := self._pending.deadline) is not None:
            deadlines.append(due)
        if self._expected:
            deadlines.append(next(iter(self._expected.values())) + self.settings.device_timeout_s)
        if self._seen:
            deadlines.append(next(iter(self._seen.values())) + self.settings.device_timeout_s)
        if self._open and self.answer_within_s is not None:
            deadlines.append(next(iter(self._open.values()))[1] + self.answer_within_s)
        return max(0.0, min(deadlines) - now) if deadlines else None

    def _replay(self) -> None:
        """Bring back what the journal holds."""
        self._last = dict(self._journal.last_results)
        self._number = acknowledged = self._journal.acknowledged
        results: dict[int, tuple[Order, Result]] = {}
        for record in self._journal.replay():
            header = record.header
            if header["kind"] != "batch":
                order, result = _restored(record, self.name)
                results[order.ticket] = order, result
                self._answered[order.ticket] = order
                self._last[order.device] = max(self._last.get(order.device, (0, "")), (order.ticket, result.digest))
                continue
            failed = {int(ticket): str(reason) for ticket, reason in header["failed"].items()}
            found = [results.pop(ticket) for ticket in header["done"] if ticket in results]
            for ticket in failed:
                results.pop(ticket, None)
            self._number = max(self._number, header["number"])
            if header["number"] <= acknowledged:
                for ticket in (*header["done"], *failed):
                    self._answered.pop(ticket, None)
                continue
            if len(found) != len(header["done"]):
                raise EdgeError(f"the journal in {self.folder} lacks results of batch {header['number']}: restore it")
            self._batches[header["number"]] = self._restored_batch(header["number"], found, failed)
        self._given = {device: ticket for device, (ticket, _) in self._last.items()}
        for order, result in results.values():
            self._pending.add(order, result, self._encoded(result), time.monotonic())

    def _restored_batch(self, number: int, results: Sequence[tuple[Order, Result]], failed: Mapping[int, str]) -> Batch:
        parts = Pending(0.0)
        for order, result in results:
            parts.add(order, result, self._encoded(result), 0.0)
        for ticket, reason in failed.items():
            parts.fail(ticket, reason, 0.0)
        batch = parts.take({self.name: number}, 0.0, ())
        if batch is None:
            raise EdgeError(f"the journal in {self.folder} has an empty batch {number}: restore it")
        return batch

    def _encoded(self, result: Result) -> Mapping[str, Any] | None:
        return None if result.update is None else self.scale.encode(result.update, result.weight)


@dataclass(frozen=True)
class _Writing:
    """A result on its way to the disk."""

    device: str
    digest: str
    future: Future[None]


def _record(order: Order, result: Result) -> Record:
    header = {
        "kind": "failed" if result.kind == "failed" else "result",
        "ticket": order.ticket,
        "device": order.device,
        "digest": result.digest,
        "order": order.kind,
        "version": order.version,
        "weight": result.weight,
        "metrics": dict(result.metrics or {}),
        "reason": result.reason,
    }
    return Record(header, result.body)


def _restored(record: Record, gateway: str) -> tuple[Order, Result]:
    """Return what :func:`_record` wrote down."""
    header = record.header
    order = Order(header["ticket"], gateway, header["device"], header["version"], header["order"])
    kind = "failed" if header["kind"] == "failed" else order.kind
    update = loads(record.body)[0] if kind == "train" else None
    result = Result(kind, header["digest"], header["weight"], header["metrics"], update, record.body, header["reason"])
    return order, result
