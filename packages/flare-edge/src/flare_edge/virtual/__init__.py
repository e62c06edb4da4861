"""Fleets of devices in simulated time."""

from flare_edge.virtual.fleet import Battery, Device, FleetModel, Presence
from flare_edge.virtual.history import History, Target, VersionMade
from flare_edge.virtual.simulation import Simulation
from flare_edge.virtual.traces import read_record, read_trace
from flare_edge.virtual.training import DigitsTraining, NoTraining, Trained, Training

__all__ = [
    "Battery",
    "Device",
    "DigitsTraining",
    "FleetModel",
    "History",
    "NoTraining",
    "Presence",
    "Simulation",
    "Target",
    "Trained",
    "Training",
    "VersionMade",
    "read_record",
    "read_trace",
]
