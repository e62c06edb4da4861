"""The site's side of a run with devices: a gateway, or an inner node of the tree."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from flare_core import Executor, JobContext, Service, SiteContext, Task
from flare_edge.errors import EdgeError
from flare_edge.fedbuff import ModelManagerConfig
from flare_edge.gateway.gateway import Gateway
from flare_edge.gateway.settings import GatewaySettings
from flare_edge.simulated import SimulatedDevices
from flare_edge.sum_filters import SumFilter
from flare_edge.tree.inner import Inner
from flare_edge.tree.leaf import Leaf
from flare_edge.tree.topology import ROOT, Topology

SERVE = "edge.serve"
"""The only task: it lasts as long as the run, so that the server notices if a site fails or is lost."""


class EdgeSite(Service):
    """Runs the gateway of a leaf, or an inner node, for as long as the job lasts.

    Args:
        tree: by inner node, the sites that report to it.
        models: the values of a :class:`~flare_edge.fedbuff.ModelManagerConfig`.
        job: what devices are told about the job: ``name``, ``description`` and ``config``.
        answer_within_s: an order that is not answered in time is given to another device; None: never.
        min_devices_per_sum: sums of fewer devices do not leave the site.
        sum_filters: applied to the sums of a gateway before they leave.
        simulation: simulated devices at each gateway, see :class:`~flare_edge.simulated.SimulatedDevices`.
    """

    _running: ClassVar[dict[tuple[str, str], EdgeSite]] = {}

    def __init__(
        self,
        tree: Mapping[str, Sequence[str]],
        models: Mapping[str, Any],
        job: Mapping[str, Any],
        answer_within_s: float | None,
        min_devices_per_sum: int,
        sum_filters: Sequence[SumFilter] = (),
        simulation: Mapping[str, Any] | None = None,
    ) -> None:
        self.tree = dict(tree)
        self.models = ModelManagerConfig(**models)
        self.job = dict(job)
        self.answer_within_s = answer_within_s
        self.min_devices_per_sum = min_devices_per_sum
        self.sum_filters = list(sum_filters)
        self.simulation = None if simulation is None else dict(simulation)
        self.is_over = threading.Event()
        self._gateway: Gateway | None = None
        self._inner: Inner | None = None
        self._devices: SimulatedDevices | None = None

    @classmethod
    def of(cls, context: JobContext) -> EdgeSite:
        """Return the service of a site that runs in this process."""
        return cls._running[(context.job_id, context.party)]

    def start(self, context: JobContext) -> None:
        self._context = context
        self._running[(context.job_id, context.party)] = self
        sites = [party for party in context.endpoint.parties if party != ROOT]
        topology = Topology(sites, self.tree)
        topology.check()
        if context.party in topology.inner:
            self._inner = Inner(topology, context.endpoint, context.cancelled, end=self.is_over.set, fail=context.fail)
            self._inner.start()
        else:
            self._start_gateway(context, topology)

    def _start_gateway(self, context: JobContext, topology: Topology) -> None:
        folder = context.folder / "gateway"
        folder.mkdir(parents=True, exist_ok=True)
        gateway = self._gateway = Gateway(
            context.party,
            folder,
            GatewaySettings.read(context.local),
            self.models.scale,
            self.job["config"],
            job_name=self.job["name"],
            description=self.job["description"],
            update_timeout_s=self.models.update_timeout,
            answer_within_s=self.answer_within_s,
            min_devices_per_sum=self.min_devices_per_sum,
        )
        gateway.start()
        leaf = Leaf(
            gateway,
            context.endpoint,
            topology.parents[context.party],
            context.cancelled,
            end=self.is_over.set,
            fail=context.fail,
            filters=self.sum_filters,
        )
        leaf.start()
        if self.simulation is not None:
            self._devices = SimulatedDevices.of(self.simulation, gateway, topology.leaves.index(context.party))
            self._devices.start(context.fail)

    def stop(self) -> None:
        self.is_over.set()
        self._running.pop((self._context.job_id, self._context.party), None)
        if self._inner is not None:
            self._inner.stop()
        if self._gateway is not None:
            self._gateway.close()
        if self._devices is not None:
            self._devices.stop()


class EdgeExecutor(Executor):
    """Does the one task of :class:`~flare_edge.workflow.EdgeWorkflow`: it answers when the run is over."""

    def execute(self, task: Task, context: SiteContext) -> object:
        if task.name != SERVE:
            raise EdgeError(f"{context.party} has no task {task.name!r}; a site of flare-edge does {SERVE!r}")
        EdgeSite.of(context).is_over.wait()
        return None
