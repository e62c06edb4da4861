"""Buffered asynchronous aggregation as a state machine without clock and I/O."""

from flare_edge.fedbuff.combining import combined, mean_update
from flare_edge.fedbuff.decisions import Decisions, Dropped, NewVersion
from flare_edge.fedbuff.machine import FedBuff
from flare_edge.fedbuff.record import RecordedFedBuff, Replayed, replay, replayed
from flare_edge.fedbuff.settings import (
    DeviceManagerConfig,
    EvaluatorConfig,
    FedBuffSettings,
    ModelManagerConfig,
    SimulationConfig,
)
from flare_edge.fedbuff.sums import add_sum

__all__ = [
    "Decisions",
    "DeviceManagerConfig",
    "Dropped",
    "EvaluatorConfig",
    "FedBuff",
    "FedBuffSettings",
    "ModelManagerConfig",
    "NewVersion",
    "RecordedFedBuff",
    "Replayed",
    "SimulationConfig",
    "add_sum",
    "combined",
    "mean_update",
    "replay",
    "replayed",
]
