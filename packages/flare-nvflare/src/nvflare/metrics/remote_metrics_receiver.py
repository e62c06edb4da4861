"""RemoteMetricsReceiver: gives metrics that sites have sent to the server's reporters."""

from __future__ import annotations

from collections.abc import Sequence

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.metrics.metrics_collector import METRICS, report
from nvflare.metrics.metrics_keys import METRICS_EVENT_TYPE, MetricKeys


class RemoteMetricsReceiver(FLComponent):
    """Gives metrics that sites have sent to the server's reporters.

    Args:
        events: the events with metrics; by default those of collectors, sent by ConvertToFedEvent.
    """

    def __init__(self, events: Sequence[str] | None = None) -> None:
        super().__init__()
        self.events = [METRICS_EVENT_TYPE, f"fed.{METRICS_EVENT_TYPE}"] if events is None else list(events)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Report metrics.

        Raises:
            ValueError: the event comes without them.
        """
        if event_type not in self.events:
            return
        data = (fl_ctx.get_prop(FLContextKey.EVENT_DATA) or {}).get(METRICS)
        if not isinstance(data, dict):
            raise ValueError(f"the event {event_type!r} has no metrics; fire it with a Shareable that has {METRICS!r}")
        report(data[MetricKeys.value], data[MetricKeys.metric_name], data[MetricKeys.tags], fl_ctx)
