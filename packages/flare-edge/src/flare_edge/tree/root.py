"""Root: the server's end of the tree. It decides with FedBuff, makes the versions, and hands out orders.

Whatever comes from below is handled at once, on the thread of its request, but nothing is decided between a version and
the moment when the workflow has saved it. The state that belongs to a version is taken when it is made, before its
orders go out, so a server that is killed goes on from a version that is on disk, and gateways send again what it lacks.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from flare_core.optimizers import ServerOptimizer
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import FedBuffSettings, NewVersion, combined
from flare_edge.fedbuff.record import RecordedFedBuff
from flare_edge.messages import Batch, Order
from flare_edge.tree.inner import is_news
from flare_edge.tree.news import Made, News, Params
from flare_edge.tree.sessions import Sessions, StaleSessionError
from flare_edge.tree.topology import ROOT, Topology

logger = logging.getLogger(__name__)

INPUTS = "inputs.jsonl"
STALLED_S = 60.0
"""After so long without a device that works, a warning says so."""


class Root:
    """The server's end of the tree; thread-safe.

    Args:
        topology: the tree.
        settings: of FedBuff.
        seed: of the choice of devices.
        folder: for the record of all inputs and decisions.
        params: the newest version of the model; devices train its floating-point parameters.
        optimizer: takes the steps of the server; None adds the mean update.
        state: of an earlier life, see :attr:`Made.state`.
        device_wait_timeout: the run fails after so many seconds without a device that works; None: never.
        ring: called from any thread when there are news.
        warn: shows a warning.
        fail: fails the run.
    """

    def __init__(
        self,
        topology: Topology,
        settings: FedBuffSettings,
        seed: int,
        folder: Path,
        params: Params,
        *,
        optimizer: ServerOptimizer | None,
        state: Mapping[str, Any] | None,
        device_wait_timeout: float | None,
        ring: Callable[[int], None],
        warn: Callable[[str], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._topology = topology
        self._settings = settings
        self._optimizer = optimizer
        self._wait_timeout = device_wait_timeout
        self._ring, self._warn, self._fail = ring, warn, fail
        self._sessions = Sessions(topology.children(ROOT))
        self._changed = threading.Condition()
        self._buff = RecordedFedBuff(settings, seed)
        if state is not None:
            self._buff = RecordedFedBuff.restored(settings, seed, state["fedbuff"])
            if optimizer is not None:
                optimizer.restore(state["optimizer"])
        self._inputs = _continued(folder / INPUTS, 0 if state is None else int(state["inputs"]))
        began = time.monotonic() - (0.0 if state is None else float(state["seconds"]))
        self._seconds: Callable[[], float] = lambda: (
            time.monotonic() - began
        )  # without the time between a kill and the restart
        self._buff.begin_record(self._inputs, clock=self._seconds)
        self._buff.begin_life()
        self._models: dict[int, Params] = {self._buff.version: dict(params)}
        self._news = News()
        self._must_wait = True  # for the workflow, which has to save a version first
        self._has_rung = False
        self._is_closed = self._is_over = False
        self._held: list[Order] = []  # of a version that is not saved yet
        self._made = self._saved = self._buff.received  # the last batch by leaf, in a new version and in saved ones

    @property
    def version(self) -> int:
        """The newest version."""
        with self._changed:
            return self._buff.version

    def start(self) -> None:
        """Start the threads that watch over children and devices; they end with :meth:`close`."""
        for work in (self._watch_children, self._watch_devices):
            threading.Thread(target=self._guarded, args=(work,), name="flare-edge-root", daemon=True).start()

    def state(self) -> dict[str, Any]:
        """Return the state for a successor; call it only right after a version was made, or before the first."""
        self._inputs.flush()
        return {
            "fedbuff": self._buff.state(),
            "inputs": os.fstat(self._inputs.fileno()).st_size,
            "seconds": self._seconds(),
            "optimizer": {} if self._optimizer is None else dict(self._optimizer.state()),
        }

    def proceed(self) -> None:
        """Go on, at the start or after the newest version and its state were saved where they survive the server.

        Only now gateways may forget what it was made of, and devices get orders for it.
        """
        with self._changed:
            self._must_wait = False
            self._saved = self._made
            self._post("acknowledge", self._saved)
            held, self._held = self._held, []
            self._hand_out(held)
            self._decide()

    def take(self) -> News:
        """Return the news since the last call."""
        with self._changed:
            news, self._news = self._news, News(is_over=self._news.is_over)
            self._has_rung = False
            return news

    def close(self) -> None:
        """Tell everybody that the run is over."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = self._is_over = True
            self._changed.notify_all()
            self._inputs.close()
        self._sessions.close()

    def abandon(self) -> None:
        """End without a word to anybody: this process ends, but the run will go on in another."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
            self._inputs.close()
        self._sessions.abandon()

    def is_over(self) -> bool:
        """Return whether the run is over."""
        with self._changed:
            return self._is_over

    # Requests of children, see flare_edge.tree.serving. After the end, their sessions tell them so.

    def hello(self, child: str) -> dict[str, Any]:
        with self._changed:
            return {"session": self._sessions.begin(child)}

    def attach(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        leaf = str(data["leaf"])
        devices = [str(device) for device in data["devices"]]
        with self._changed:
            self._check(child, data, leaf)
            if self._is_closed:
                raise StaleSessionError("the run is over")
            expected = sorted(set(self._buff.devices(leaf)) - set(devices))
            self._buff.join(leaf, devices)
            again = self._buff.adopt(leaf, _orders(data["open"]), _orders(data["answered"]))
            held = {order.ticket for order in self._held}
            self._decide()
            return {
                "received": self._buff.received.get(leaf, 0),
                "acknowledged": self._saved.get(leaf, 0),
                "expected": expected,
                "orders": [order.as_data() for order in again if order.ticket not in held],
            }

    def report(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            self._check(child, data, *(move[0] for move in data["moves"]))
            if self._is_closed:
                return {}
            for leaf, left, joined in data["moves"]:
                if left is None or left:
                    self._buff.leave(leaf, left)
                if joined:
                    self._buff.join(leaf, joined)
            if data["batch"] is not None:
                batch = Batch.from_data(data["batch"])
                self._check(child, data, *batch.leaves)
                if is_news(batch, self._buff.received, child):
                    self._buff.merge(batch)
            self._decide()
        return {}

    def next_items(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._sessions.take(child, str(data["session"]), int(data["seen"]))

    def ended(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self._sessions.note_ended(child, str(data["session"]))
        return {}

    def model(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            self._check(child, data)
            params = self._models.get(int(data["version"]))
        return {"params": None if params is None else trainable(params)}

    def _check(self, child: str, data: Mapping[str, Any], *leaves: str) -> None:
        self._sessions.check(child, str(data["session"]))
        for leaf in leaves:
            if self._topology.next_hop(ROOT, leaf) != child:
                raise EdgeError(f"{child} reports for {leaf!r}, which is not below it")

    # Below, the lock is held.

    def _decide(self) -> None:
        """Do what follows from the inputs, unless the workflow has to save a version first."""
        if self._must_wait or self._is_closed:
            self._changed.notify_all()
            return
        decisions = self._buff.decide()
        if decisions.version is not None:
            self._make(decisions.version)
        if decisions.withdrawn:
            self._sessions.post(self._sessions.children, "withdraw", list(decisions.withdrawn))
        if decisions.version is None:
            self._hand_out(decisions.orders)
        else:
            self._held = list(decisions.orders)
        self._news.evaluations |= decisions.evaluations
        self._news.dropped += sum(each.count for each in decisions.dropped)
        self._news.is_over = decisions.is_over
        self._changed.notify_all()
        if self._news and not self._has_rung:
            self._has_rung = True
            self._ring(self._buff.version)

    def _make(self, version: NewVersion) -> None:
        before = self._models[version.version - 1]
        settings = self._settings.models
        params = combined(version, settings.scale, before, settings.global_lr, self._optimizer)
        self._models[version.version] = params
        for old in sorted(set(self._models) - {*self._buff.active_versions}):
            del self._models[old]
            self._sessions.post(self._sessions.children, "drop", old)
        self._must_wait = True
        self._made = self._buff.received
        self._news.made = Made(version, params, self.state())

    def _hand_out(self, orders: Sequence[Order]) -> None:
        by_child: dict[str, list[Any]] = {}
        for order in orders:
            by_child.setdefault(self._topology.next_hop(ROOT, order.gateway), []).append(order.as_data())
        for child, given in by_child.items():
            self._sessions.post([child], "orders", given)

    def _post(self, kind: str, by_leaf: Mapping[str, Any]) -> None:
        by_child: dict[str, dict[str, Any]] = {}
        for leaf, values in by_leaf.items():
            by_child.setdefault(self._topology.next_hop(ROOT, leaf), {})[leaf] = values
        for child, each in by_child.items():
            self._sessions.post([child], kind, each)

    # Threads of its own.

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(error)

    def _watch_children(self) -> None:
        """Let the devices behind children that are gone leave, so that others get their orders."""
        while silent := self._sessions.await_silent():
            with self._changed:
                for leaf in self._topology.leaves:
                    if self._topology.next_hop(ROOT, leaf) in silent:
                        self._buff.leave(leaf)
                self._decide()

    def _watch_devices(self) -> None:
        """Warn if no device works for a while; fail the run if none does for too long."""
        with self._changed:
            while not self._is_closed:
                self._changed.wait_for(lambda: self._is_closed or self._why_idle() is not None)
                if self._wait_idle(STALLED_S if self._wait_timeout is None else min(STALLED_S, self._wait_timeout)):
                    continue
                if self._wait_timeout is None:
                    self._warn(f"{self._why_idle()}; the run goes on when more devices join")
                    self._wait_idle(None)
                elif self._wait_timeout <= STALLED_S or not self._wait_idle(self._wait_timeout - STALLED_S):
                    raise EdgeError(
                        f"{self._why_idle()}; this has been so for {self._wait_timeout:g} s (device_wait_timeout):"
                        " let more devices join, or ask for fewer"
                    )

    def _why_idle(self) -> str | None:
        return None if self._must_wait else self._buff.stalled()

    def _wait_idle(self, timeout_s: float | None) -> bool:
        """Wait while no device works; return whether that has ended in time."""
        return self._changed.wait_for(lambda: self._is_closed or self._why_idle() is None, timeout_s)


def trainable(params: Params) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parameters that devices train: those of floating-point numbers."""
    return {name: value for name, value in params.items() if value.dtype.kind == "f"}


def _continued(path: Path, size: int) -> TextIO:
    """Open a file to go on after its first bytes; what follows them belongs to a life that is over."""
    with path.open("ab") as stream:
        stream.truncate(size)
    return path.open("a", encoding="utf-8")


def _orders(data: Sequence[Any]) -> list[Order]:
    return [Order.from_data(each) for each in data]
