"""SyncAlgorithmExecutor: all sites do an iteration at the same time."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_opt.p2p.executors.base_dist_opt_executor import BaseDistOptExecutor


class SyncAlgorithmExecutor(BaseDistOptExecutor):
    """Exchanges values with the neighbours in each iteration, and waits for theirs.

    Args:
        sync_timeout: seconds to wait for them.
    """

    def __init__(self, sync_timeout: int = 10) -> None:
        super().__init__()
        self.sync_timeout = sync_timeout
        self.neighbors_values: dict[int, dict[str, Any]] = defaultdict(dict)
        self.lock = threading.Condition()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Note the site's name, and take the values of neighbours."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.START_RUN:
            fl_ctx.get_engine().register_aux_message_handler("send_value", self._handle_neighbor_value)

    def _exchange_values(self, fl_ctx: FLContext, value: Any, *args: Any, **kwargs: Any) -> None:
        """Send a value to the neighbours, and wait for theirs.

        Raises:
            TimeoutError: one did not come in time.
        """
        iteration = int(kwargs["iteration"] if "iteration" in kwargs else args[0])
        data = {"value": self._to_message(value), "iteration": iteration}
        names = [str(each.id) for each in self.neighbors]
        request = DXO(DataKind.WEIGHTS, data).to_shareable()
        replies = fl_ctx.get_engine().send_aux_request(names, "send_value", request, self.sync_timeout, fl_ctx)
        for name, reply in replies.items():
            if reply.get_return_code() != ReturnCode.OK:
                raise TimeoutError(f"{name} did not take the value of iteration {iteration}: {reply.get_return_code()}")
        with self.lock:
            wanted = len(self.neighbors)
            came = self.lock.wait_for(lambda: len(self.neighbors_values[iteration]) >= wanted, self.sync_timeout)
            if not came:
                missing = sorted(set(names) - self.neighbors_values[iteration].keys())
                raise TimeoutError(
                    f"no value of iteration {iteration} from {', '.join(missing)} in {self.sync_timeout} s"
                )

    def _handle_neighbor_value(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Take the value of a neighbour."""
        sender = request.get_peer_prop(ReservedKey.IDENTITY_NAME, None)
        data = from_shareable(request).data
        with self.lock:
            self.neighbors_values[data["iteration"]][sender] = self._from_message(data["value"])
            self.lock.notify_all()
        return make_reply(ReturnCode.OK)
