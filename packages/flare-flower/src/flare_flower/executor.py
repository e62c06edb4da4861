"""The site's side of a Flower run: checks before the start, and a SuperNode for as long as it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from flare_core import Executor, PartyError, SiteContext, Task
from flare_flower import checks
from flare_flower.node import SiteNode

WAIT = "flower.wait"
TIME = "flower.time"
RETRY_S = 1.0


class FlowerExecutor(Executor):
    """Does the tasks of :class:`flare_flower.workflow.FlowerWorkflow`.

    ``flower.check`` looks at the site and replies what it has found. ``flower.round`` starts the site's SuperNode, if
    it does not run yet, and replies when Flower's round, or the whole run, is over.

    Args:
        imports: the packages that the ClientApp imports, with the places of their imports.
        node_config: values for ``context.node_config``, which go before ``partition-id`` and ``num-partitions``.
        clock: the site's clock, in seconds since 1970.
    """

    def __init__(
        self,
        imports: Mapping[str, str] | None = None,
        node_config: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.imports = dict(imports or {})
        self.node_config = dict(node_config or {})
        self.clock = clock
        self._node: SiteNode | None = None

    def execute(self, task: Task, context: SiteContext) -> object:
        if task.name == "flower.check":
            return self._look(context)
        if self._node is None:
            self._node = SiteNode(context, {**_partition(context), **self.node_config}, list(self.imports))
        if self._wait(task.data, context):
            self._node.stop()
        return None

    def _look(self, context: SiteContext) -> dict[str, Any]:
        return {
            "version": checks.version(),
            "missing": checks.missing(self.imports),
            "offset_s": checks.clock_offset_s(lambda: float(context.endpoint.request("server", TIME)), self.clock),
            "memory_mib": checks.available_mib(),
            "policy": checks.policy(context.local),
        }

    def _wait(self, round_: int, context: SiteContext) -> bool:
        """Wait until a round of Flower's is over; return whether the run is."""
        while True:
            try:
                return bool(context.endpoint.request("server", WAIT, round_))
            except PartyError:
                if context.cancelled.wait(RETRY_S):  # the link is cut, or the server starts again
                    return True


def _partition(context: SiteContext) -> dict[str, int]:
    sites = [party for party in context.endpoint.parties if party != "server"]
    return {"partition-id": sites.index(context.party), "num-partitions": len(sites)}
