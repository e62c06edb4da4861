"""BaseDistOptExecutor: a site's part of an algorithm in which sites exchange values with their neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.types import LocalConfig, Neighbor


class BaseDistOptExecutor(Executor, ABC):
    """A site's part of an algorithm."""

    def __init__(self) -> None:
        super().__init__()
        self.id: Any = None
        self.client_name: Any = None
        self.config: LocalConfig | None = None
        self.neighbors: list[Neighbor] = []
        self._weight: Any = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note the site's name."""
        if event_type == EventType.START_RUN:
            self.client_name = fl_ctx.get_identity_name()
            number = str(self.client_name).rpartition("-")[2]
            self.id = int(number) if number.isdigit() else self.client_name

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Note the neighbours, or run the algorithm."""
        if task_name == "config":
            self.config = LocalConfig(**from_shareable(shareable).data)
            self.neighbors = self.config.neighbors
            self._weight = 1.0 - sum(each.weight or 0.0 for each in self.neighbors)
        elif task_name == "run_algorithm":
            self._pre_algorithm_run(fl_ctx, shareable, abort_signal)
            self.run_algorithm(fl_ctx, shareable, abort_signal)
            self._post_algorithm_run(fl_ctx, shareable, abort_signal)
        else:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        return make_reply(ReturnCode.OK)

    @abstractmethod
    def run_algorithm(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Run the algorithm."""

    def _pre_algorithm_run(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Prepare the algorithm; a subclass can override this."""

    def _post_algorithm_run(self, fl_ctx: FLContext, shareable: Shareable, abort_signal: Signal) -> None:
        """Finish the algorithm; a subclass can override this."""

    @abstractmethod
    def _exchange_values(self, fl_ctx: FLContext, value: Any, *args: Any, **kwargs: Any) -> None:
        """Send a value to the neighbours, and wait for theirs."""

    @abstractmethod
    def _handle_neighbor_value(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Take the value of a neighbour."""

    def _to_message(self, x: Any) -> Any:
        """Return what to send for a value."""
        return x

    def _from_message(self, x: Any) -> Any:
        """Return the value that was sent."""
        return x
