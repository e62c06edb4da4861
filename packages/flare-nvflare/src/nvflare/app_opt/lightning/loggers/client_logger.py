"""ClientLogger, a Lightning logger whose metrics become those of the run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger

from flare_core.client import AnalyticsDataType, log


class ClientLogger(Logger):
    """Records what a trainer logs among the metrics of the run, for its trackers.

    Args:
        prefix: put before each name.
    """

    def __init__(self, prefix: str = "") -> None:
        super().__init__()
        self.prefix = prefix

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "ClientLogger"

    @property
    def version(self) -> str:
        """The version of what is logged."""
        return "0"

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a step."""
        for name, value in metrics.items():
            log(f"{self.prefix}{name}", value, AnalyticsDataType.METRIC, global_step=step)

    def log_hyperparams(self, params: Mapping[str, Any] | argparse.Namespace, *arguments: Any, **named: Any) -> None:
        """Record parameters; other arguments are ignored."""
        values = vars(params) if isinstance(params, argparse.Namespace) else dict(params)
        for name, value in values.items():
            log(f"{self.prefix}{name}", str(value), AnalyticsDataType.PARAMETER)
