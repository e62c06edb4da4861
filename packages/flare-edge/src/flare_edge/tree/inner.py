"""Inner: a node that merges what its children report, and passes down what comes from its parent.

It keeps nothing on disk, and acknowledges nothing by itself. If it begins a new session with its parent, because one of
the two was started again or a request was lost, it forgets all that it has, and ends its children's sessions: gateways
send again what the server lacks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flare_core import JobEndpoint
from flare_edge.errors import EdgeError
from flare_edge.messages import Batch
from flare_edge.tree.merging import merged
from flare_edge.tree.serving import serve
from flare_edge.tree.sessions import Sessions, StaleSessionError
from flare_edge.tree.topology import Topology
from flare_edge.tree.uplink import LostError, Uplink

_Params = dict[str, np.ndarray[Any, Any]]


class Inner:
    """An inner node of the tree.

    Args:
        topology: the tree.
        endpoint: the site's endpoint.
        cancelled: set when the run is over.
        end: called when the run is over.
        fail: fails the run.
    """

    def __init__(
        self,
        topology: Topology,
        endpoint: JobEndpoint,
        cancelled: threading.Event,
        *,
        end: Callable[[], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._topology = topology
        self._name = endpoint.party
        self._endpoint = endpoint
        self._cancelled = cancelled
        self._end = end
        self._fail = fail
        self._sessions = Sessions(topology.children(self._name))
        self._changed = threading.Condition()
        self._received: dict[str, int] = {}
        self._batches: list[Batch] = []
        self._moves: list[list[Any]] = []
        self._loading = threading.Lock()
        self._models: dict[int, _Params] = {}
        self._uplink = Uplink(
            endpoint,
            topology.parents[self._name],
            cancelled,
            greet=self._forget,
            handle=self._handle,
            end=self._finish,
        )

    def start(self) -> None:
        """Serve the children, and start the threads that connect the node with its parent; they end with the run."""
        serve(self._endpoint, self, self._fail)
        for work in (self._uplink.follow, self._pass_up, self._watch):
            threading.Thread(target=self._guarded, args=(work,), name="flare-edge-inner", daemon=True).start()

    def stop(self) -> None:
        """End the node's threads and its children's waits; ``cancelled`` was set."""
        self._sessions.abandon()
        with self._changed:
            self._changed.notify_all()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._fail(error)

    def hello(self, child: str) -> dict[str, Any]:
        with self._changed:
            return {"session": self._sessions.begin(child)}

    def attach(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        leaf, session = str(data["leaf"]), str(data["session"])
        self._check_way(child, leaf)
        with self._uplink.lock:  # so that no older moves of the leaf follow
            with self._changed:
                self._sessions.check(child, session)
                self._moves = [move for move in self._moves if move[0] != leaf]
            try:
                reply: dict[str, Any] = self._uplink.call("edge.attach", data)
            except LostError as error:
                raise StaleSessionError(f"{self._name} has lost its parent: {error}") from error
            with self._changed:
                self._sessions.check(child, session)
                received = max(self._received.get(leaf, 0), int(reply["received"]))
                self._received[leaf] = received
        return {**reply, "received": received}

    def report(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        with self._changed:
            self._sessions.check(child, str(data["session"]))
            for move in data["moves"]:
                self._check_way(child, move[0])
                if move[1] is None or move[1] or move[2]:
                    self._moves.append(list(move))
            if data["batch"] is not None:
                self._take(child, Batch.from_data(data["batch"]))
            self._changed.notify_all()
        return {}

    def _take(self, child: str, batch: Batch) -> None:
        for leaf in batch.leaves:
            self._check_way(child, leaf)
        if is_news(batch, self._received, child):
            self._received |= batch.leaves
            self._batches.append(batch)

    def next_items(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._sessions.take(child, str(data["session"]), int(data["seen"]))

    def ended(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self._sessions.note_ended(child, str(data["session"]))
        return {}

    def model(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self._sessions.check(child, str(data["session"]))
        version = int(data["version"])
        with self._loading:  # one download for all children
            params = self._models.get(version)
            if params is None:
                try:
                    params = self._uplink.model(version)
                except LostError as error:
                    raise StaleSessionError(f"{self._name} has lost its parent: {error}") from error
                if params is not None:
                    self._models[version] = params
        return {"params": params}

    def _check_way(self, child: str, leaf: str) -> None:
        if self._topology.next_hop(self._name, leaf) != child:
            raise EdgeError(f"{child} reports for {leaf!r}, which is not below it")

    def _forget(self) -> None:
        """Begin anew, at the beginning of a session with the parent."""
        with self._changed:
            self._received.clear()
            self._batches.clear()
            self._moves.clear()
            self._sessions.end_all()

    def _finish(self) -> None:
        self._sessions.close()
        self._end()

    def _watch(self) -> None:
        """Report the gateways behind children that are gone as left."""
        while silent := self._sessions.await_silent():
            with self._changed:
                for leaf in self._topology.below(self._name):
                    if self._topology.next_hop(self._name, leaf) in silent:
                        self._moves.append([leaf, None, []])
                self._changed.notify_all()

    def _pass_up(self) -> None:
        """Send what has come from below, merged, whenever something has."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._batches or self._moves or self._cancelled.is_set())
            if self._cancelled.is_set():
                return
            with self._uplink.lock:
                with self._changed:
                    batches, self._batches = self._batches, []
                    moves, self._moves = self._moves, []
                if batches or moves:  # else a new session has begun since
                    batch = merged(batches).as_data() if batches else None
                    self._uplink.report({"moves": moves, "batch": batch})

    def _handle(self, kind: str, data: Any) -> None:
        children = self._sessions.children
        match kind:
            case "orders":
                by_child: dict[str, list[Any]] = {}
                for order in data:
                    by_child.setdefault(self._topology.next_hop(self._name, order[1]), []).append(order)
                for child, orders in by_child.items():
                    self._sessions.post([child], kind, orders)
            case "withdraw":
                self._sessions.post(children, kind, data)
            case "acknowledge":
                by_node: dict[str, dict[str, Any]] = {}
                for leaf, values in data.items():
                    by_node.setdefault(self._topology.next_hop(self._name, leaf), {})[leaf] = values
                for child, values in by_node.items():
                    self._sessions.post([child], kind, values)
            case "drop":
                with self._loading:
                    self._models.pop(int(data), None)
                self._sessions.post(children, kind, data)


def is_news(batch: Batch, received: Mapping[str, int], child: str) -> bool:
    """Return whether a batch is new; false if all of it was received before.

    Raises:
        EdgeError: only a part of it is new, or a leaf's batch before it is missing.
    """
    new = [leaf for leaf, number in batch.leaves.items() if number > received.get(leaf, 0)]
    if not new:
        return False
    if len(new) < len(batch.leaves):
        raise EdgeError(f"{child} reports {dict(batch.leaves)}, of which a part was received before: {dict(received)}")
    if len(batch.leaves) == 1 and child in batch.leaves and batch.leaves[child] != received.get(child, 0) + 1:
        raise EdgeError(f"{child} reports batch {batch.leaves[child]} after {received.get(child, 0)}")
    return True
