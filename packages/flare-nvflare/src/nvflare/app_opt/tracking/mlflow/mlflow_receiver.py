"""MLflowReceiver, which writes the metrics of a run to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flare_runtime import tracking


class MLflowReceiver(tracking.MLflowReceiver):
    """Writes the metrics of a run to MLflow, with :class:`flare_runtime.tracking.MLflowReceiver`.

    Args:
        tracking_uri: the server or store.
        kw_args: ``experiment_name``, ``run_name``, ``experiment_tags``, ``run_tags``.
        artifact_location: where a new experiment keeps its texts.
        events: without effect; all metrics are written.
        buffer_flush_time: without effect.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        kw_args: Mapping[str, Any] | None = None,
        artifact_location: str | None = None,
        events: Sequence[str] | None = None,
        buffer_flush_time: float = 1,
    ) -> None:
        super().__init__(tracking_uri=tracking_uri, artifact_location=artifact_location, **(kw_args or {}))
        self.kw_args = kw_args
        self.events = events
        self.buffer_flush_time = buffer_flush_time
