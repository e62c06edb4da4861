"""TBWriter, which scripts of 2.2 used in the place of SummaryWriter."""

from __future__ import annotations

from nvflare.client.tracking import SummaryWriter


class TBWriter(SummaryWriter):
    """A SummaryWriter.

    Args:
        event_type: without effect; metrics go to the run's record and its trackers.
    """

    def __init__(self, event_type: str = "analytix_log_stats") -> None:
        self.event_type = event_type


__all__ = ["TBWriter"]
