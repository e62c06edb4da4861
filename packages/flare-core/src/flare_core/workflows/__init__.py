"""Workflows that need no framework."""

from flare_core.workflows.fedavg import FedAvg

__all__ = ["FedAvg"]
