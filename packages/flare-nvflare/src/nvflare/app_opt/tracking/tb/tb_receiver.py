"""TBAnalyticsReceiver, which writes the metrics of a run for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence

from flare_runtime.tracking import TensorBoardReceiver


class TBAnalyticsReceiver(TensorBoardReceiver):
    """Writes the metrics of a run for TensorBoard, with :class:`flare_runtime.tracking.TensorBoardReceiver`.

    Args:
        tb_folder: the folder of the event files, with one for each site.
        events: without effect; all metrics are written.
    """

    def __init__(self, tb_folder: str = "tb_events", events: Sequence[str] | None = None) -> None:
        super().__init__(folder=tb_folder, by_site=True)
        self.tb_folder = tb_folder
        self.events = events
