"""MetricsCollector: counts events, and measures the times between them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.metrics.metrics_keys import METRICS_EVENT_TYPE, MetricKeys, MetricTypes

METRICS = "METRICS"


class MetricsReporter(ABC):
    """Sends metrics somewhere; a component of a party gets those of the party's collectors."""

    @abstractmethod
    def report(self, name: str, value: float, kind: str, tags: Mapping[str, Any]) -> None:
        """Send a metric.

        Args:
            name: its name.
            value: its value.
            kind: one of :class:`~nvflare.metrics.metrics_keys.MetricTypes`.
            tags: further values by name.
        """


class MetricsCollector(FLComponent, ABC):
    """Counts events, and measures the times between them; an event is the metric ``<event>_count``.

    Args:
        tags: values by name that come with each metric.
        streaming_to_server: fire an event with each metric, which ConvertToFedEvent sends to the server; otherwise the
            reporters of this party get it.
    """

    def __init__(self, tags: Mapping[str, Any], streaming_to_server: bool = False) -> None:
        super().__init__()
        self.tags = dict(tags)
        self.streaming_to_server = streaming_to_server
        self._begun: dict[str, float] = {}

    @abstractmethod
    def get_single_events(self) -> Sequence[str]:
        """Return the events that are counted."""

    @abstractmethod
    def get_pairs(self) -> Mapping[str, Sequence[str]]:
        """Return the times that are measured: by name, the event that begins and those that end it; all are counted."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Count and measure."""
        pairs = {name: events for name, events in self.get_pairs().items() if event_type in events}
        if not pairs and event_type not in self.get_single_events():
            return
        tags = {**self.tags, "job_id": fl_ctx.get_job_id()}
        self.publish_metrics({MetricKeys.count: 1, MetricKeys.type: MetricTypes.COUNTER}, event_type, tags, fl_ctx)
        now = time.monotonic()
        for name, (first, *_) in pairs.items():
            if event_type == first:
                self._begun[name] = now
            elif (begun := self._begun.pop(name, None)) is not None:
                taken = {MetricKeys.time_taken: now - begun, MetricKeys.type: MetricTypes.GAUGE}
                self.publish_metrics(taken, name, tags, fl_ctx)

    def publish_metrics(
        self, metrics: Mapping[str, Any], metric_name: str, tags: Mapping[str, Any], fl_ctx: FLContext
    ) -> None:
        """Send values of one metric to the reporters of this party, or to the server."""
        if not self.streaming_to_server:
            report(metrics, metric_name, tags, fl_ctx)
            return
        data = {MetricKeys.metric_name: metric_name, MetricKeys.value: dict(metrics), MetricKeys.tags: dict(tags)}
        context = fl_ctx.get_engine().new_context()
        context.set_prop(FLContextKey.EVENT_DATA, Shareable({METRICS: data}), private=True, sticky=False)
        self.fire_event(METRICS_EVENT_TYPE, context)


def report(metrics: Mapping[str, Any], metric_name: str, tags: Mapping[str, Any], fl_ctx: FLContext) -> None:
    """Give values of one metric to the reporters of a party."""
    kind = metrics.get(MetricKeys.type, MetricTypes.GAUGE)
    for reporter in fl_ctx.get_engine().get_all_components().values():
        if isinstance(reporter, MetricsReporter):
            for key, value in metrics.items():
                if key != MetricKeys.type:
                    reporter.report(f"{metric_name}_{key}", float(value), kind, tags)
