"""DistOptController: has sites run an algorithm in which they exchange values with their neighbours."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nvflare.apis.controller_spec import Task
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.signal import Signal
from nvflare.app_opt.p2p.types import Config


class DistOptController(Controller):
    """Tells each site its neighbours, and then all sites to run the algorithm.

    Args:
        config: the network and the settings.
        args, kwargs: of :class:`Controller`.
    """

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = config

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing."""

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Configure the sites, and run the algorithm."""
        for node in self.config.network.nodes:
            neighbors = [asdict(each) for each in node.neighbors]
            data = DXO(DataKind.APP_DEFINED, {"neighbors": neighbors}).to_shareable()
            self.send_and_wait(Task("config", data), fl_ctx, targets=[str(node.id)])
        data = DXO(DataKind.APP_DEFINED, dict(self.config.extra)).to_shareable()
        targets = [str(node.id) for node in self.config.network.nodes]
        self.broadcast_and_wait(Task("run_algorithm", data), fl_ctx, targets=targets, min_responses=0)
