"""The server's service of a run with devices: it registers for requests as soon as sites can make them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from flare_core import FlareError, JobContext, Service
from flare_core.optimizers import ServerOptimizer
from flare_edge.fedbuff import FedBuffSettings
from flare_edge.tree.news import Params
from flare_edge.tree.root import Root
from flare_edge.tree.serving import serve
from flare_edge.tree.sessions import StaleSessionError
from flare_edge.tree.topology import Topology


class EdgeServer(Service):
    """Holds the root of the tree, which the workflow makes once it knows where the run begins.

    The workflow finds it by the job's id. Requests that come before wait.
    """

    _running: ClassVar[dict[str, EdgeServer]] = {}

    def __init__(self) -> None:
        self._root: Root | None = None
        self._has_begun = threading.Event()

    @classmethod
    def of(cls, job_id: str) -> EdgeServer:
        """Return the service of a job that runs in this process.

        Raises:
            FlareError: the job has none.
        """
        if job_id not in cls._running:
            raise FlareError("the job has no flare_edge.server.EdgeServer; make it with a recipe of flare-edge")
        return cls._running[job_id]

    def start(self, context: JobContext) -> None:
        self._context = context
        self._running[context.job_id] = self
        serve(context.endpoint, self, context.fail)
        context.endpoint.handle("edge.over", lambda party, data: {"over": self._there().is_over()})

    def stop(self) -> None:
        self._running.pop(self._context.job_id, None)
        if self._root is not None:
            self._root.abandon()  # the workflow has closed it if the run is over
        self._has_begun.set()

    def begin(
        self,
        topology: Topology,
        settings: FedBuffSettings,
        seed: int,
        params: Params,
        *,
        optimizer: ServerOptimizer | None,
        state: Mapping[str, Any] | None,
        device_wait_timeout: float | None,
    ) -> Root:
        """Make the root and serve its children; arguments as for :class:`~flare_edge.tree.root.Root`."""
        context = self._context
        context.folder.mkdir(parents=True, exist_ok=True)
        root = Root(
            topology,
            settings,
            seed,
            context.folder,
            params,
            optimizer=optimizer,
            state=state,
            device_wait_timeout=device_wait_timeout,
            ring=lambda version: context.log("version", float(version)),
            warn=context.warn,
            fail=context.fail,
        )
        root.start()
        self._root = root
        self._has_begun.set()
        return root

    def _there(self) -> Root:
        self._has_begun.wait()
        if self._root is None:
            raise StaleSessionError("the run has ended before it began")
        return self._root

    def hello(self, child: str) -> dict[str, Any]:
        return self._there().hello(child)

    def attach(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._there().attach(child, data)

    def report(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._there().report(child, data)

    def next_items(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._there().next_items(child, data)

    def ended(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._there().ended(child, data)

    def model(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        return self._there().model(child, data)
