"""A tree in one process: the real root, inner nodes, leaves and gateways, with endpoints that can fail."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flare_core import PartyError
from flare_edge.fedbuff import FedBuffSettings
from flare_edge.fedbuff.sums import sum_from_data
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.messages import VersionSum
from flare_edge.simulated import SimulatedDevices
from flare_edge.tree.inner import Inner
from flare_edge.tree.leaf import Leaf
from flare_edge.tree.news import Made
from flare_edge.tree.root import Root
from flare_edge.tree.serving import serve
from flare_edge.tree.topology import ROOT, Topology
from flare_fobs import dumps, loads


class Network:
    """Endpoints that call each other. Requests can get lost, on the way there or on the way back.

    Args:
        loss: the probability of either.
        seed: of the losses.
    """

    def __init__(self, loss: float = 0.0, seed: int = 0) -> None:
        self.loss = loss
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.lives: dict[str, LocalEndpoint] = {}
        self.requests = 0

    def endpoint(self, party: str) -> LocalEndpoint:
        """Return the endpoint of a new life of a party; the former one is dead."""
        made = self.lives[party] = LocalEndpoint(self, party)
        return made

    def is_lost(self) -> bool:
        with self._lock:
            self.requests += 1
            return self._random.random() < self.loss


class LocalEndpoint:
    def __init__(self, network: Network, party: str) -> None:
        self.party = party
        self.handlers: dict[str, Any] = {}
        self._network = network

    def handle(self, topic, handler) -> None:
        self.handlers[topic] = handler

    def request(self, to, topic, data=None, *, timeout_s=None):
        there = self._network.lives.get(to)
        if there is None or topic not in there.handlers or not self.is_alive or self._network.is_lost():
            raise PartyError(f"{to} cannot be reached", party=to)
        reply = there.handlers[topic](self.party, loads(dumps(data)))
        if not self.is_alive or not there.is_alive or self._network.is_lost():
            raise PartyError(f"{to} was lost before it replied", party=to)
        return loads(dumps(reply))

    @property
    def is_alive(self) -> bool:
        return self._network.lives.get(self.party) is self


class NotedDevices(SimulatedDevices):
    """Devices that note the tickets whose results were accepted."""

    accepted: set[int]

    def _report(self, device, order, result) -> None:
        super()._report(device, order, result)
        if result.update is not None:
            self.accepted.add(order.ticket)


class Node:
    """One life of a site."""

    def __init__(self, run: TreeRun, name: str) -> None:
        self.cancelled = threading.Event()
        self.is_over = threading.Event()
        endpoint = run.network.endpoint(name)
        self.gateway: Gateway | None = None
        self.inner: Inner | None = None
        self.devices: SimulatedDevices | None = None
        if name in run.topology.inner:
            self.inner = Inner(run.topology, endpoint, self.cancelled, end=self.is_over.set, fail=run.fail)
            self.inner.start()
            return
        folder = run.folder / name
        folder.mkdir(exist_ok=True)
        models = run.settings.models
        self.gateway = Gateway(
            name, folder, GatewaySettings(), models.scale, {}, update_timeout_s=models.update_timeout
        )
        parent = run.topology.parents[name]
        Leaf(self.gateway, endpoint, parent, self.cancelled, end=self.is_over.set, fail=run.fail).start()
        first = run.topology.leaves.index(name) * run.per_gateway
        self.devices = NotedDevices(self.gateway, run.processor, first, run.per_gateway, run.workers)
        self.devices.accepted = run.accepted
        self.devices.start(run.fail)

    def stop(self) -> None:
        self.cancelled.set()
        if self.gateway is not None:
            self.gateway.close()
        if self.devices is not None:
            self.devices.stop()
        if self.inner is not None:
            self.inner.stop()


class TreeRun:
    """A run of a tree.

    Args:
        folder: for the gateways' journals, and the server's record.
        gateways: the leaves.
        inner: by inner node, the sites that report to it.
        per_gateway: number of devices of each.
        settings: of FedBuff.
        params: the initial model.
        processor: the devices' work.
        network: the endpoints.
        workers: number of devices of a gateway that work at the same time.
    """

    def __init__(
        self,
        folder: Path,
        gateways: Sequence[str],
        inner: Mapping[str, Sequence[str]],
        per_gateway: int,
        settings: FedBuffSettings,
        params: Mapping[str, Any],
        processor: Any,
        network: Network | None = None,
        workers: int = 1,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.per_gateway = per_gateway
        self.processor = processor
        self.workers = workers
        self.network = network or Network()
        self.topology = Topology([*gateways, *inner], dict(inner))
        self.saved: list[Made] = []
        self.errors: list[BaseException] = []
        self.accepted: set[int] = set()  # tickets
        self.params = dict(params)
        self._state: Mapping[str, Any] | None = None
        self._rung = threading.Event()
        self.root = self._new_root()
        self.nodes = {name: Node(self, name) for name in self.topology.sites}

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self._rung.set()

    def _new_root(self) -> Root:
        rung = self._rung = threading.Event()
        root = Root(
            self.topology,
            self.settings,
            0,
            self.folder,
            self.saved[-1].params if self.saved else self.params,
            optimizer=None,
            state=self._state,
            device_wait_timeout=60.0,
            ring=lambda version: rung.set(),
            warn=lambda text: None,
            fail=self.fail,
        )
        self._state = root.state()
        endpoint = self.network.endpoint(ROOT)
        serve(endpoint, root, self.fail)
        endpoint.handle("edge.over", lambda party, data: {"over": root.is_over()})
        root.start()
        root.proceed()
        return root

    def next_version(self) -> Made:
        """Wait for a version and keep it; only now it survives a loss of the root."""
        while True:
            assert self._rung.wait(60), self.errors[:3]
            self._rung.clear()
            assert not self.errors, self.errors[:3]
            if (made := self.root.take().made) is not None:
                return made

    def keep(self, made: Made) -> None:
        self.saved.append(made)
        self._state = made.state
        self.root.proceed()

    def finish(self) -> Mapping[str, Any]:
        """Make all versions that are left, and return the model."""
        while len(self.saved) < self.settings.models.max_model_version:
            self.keep(self.next_version())
        return self.saved[-1].params

    def stop_devices(self) -> None:
        """Let the devices finish what they do; afterwards nothing more is accepted."""
        for node in self.nodes.values():
            if node.devices is not None:
                node.devices.stop()

    def wait_merged(self, is_enough: Callable[[list[VersionSum]], bool]) -> list[VersionSum]:
        """Wait until the updates that wait for the next version are as they should be, and return them."""
        root = self.root

        def waiting() -> list[VersionSum]:
            return [sum_from_data(each) for each in root._buff.state()["waiting"]["sums"].values()]

        with root._changed:
            assert root._changed.wait_for(lambda: is_enough(waiting()), 30)
            return waiting()

    def restart(self, name: str) -> None:
        """End a node as a kill does, as far as that goes in one process, and start it again."""
        if name == ROOT:
            self.network.lives.pop(ROOT)
            self.root.abandon()
            self.root = self._new_root()
            return
        self.network.lives.pop(name)
        self.nodes[name].stop()
        self.nodes[name] = Node(self, name)

    def close(self) -> None:
        self.root.close()
        for node in self.nodes.values():
            node.stop()
