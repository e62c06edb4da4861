"""Metrics that scripts log, for components that store them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, LogWriterName
from nvflare.apis.dxo import DXO
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.widgets.widget import Widget

__all__ = ["ANALYTIC_EVENT_TYPE", "AnalyticsReceiver", "AnalyticsSender", "create_analytic_dxo", "send_analytic_dxo"]


def send_analytic_dxo(
    comp: FLComponent, dxo: DXO, fl_ctx: FLContext, event_type: str = ANALYTIC_EVENT_TYPE, fire_fed_event: bool = False
) -> None:
    """Fire an event with a logged value.

    Args:
        comp: the component that logs it.
        dxo: the value, from :class:`nvflare.apis.analytix.AnalyticsData`.
        fl_ctx: the context.
        event_type: the event.
        fire_fed_event: fire it at the server as well.
    """
    data = dxo.to_shareable()
    if fire_fed_event:
        comp.fire_fed_event(event_type, data, fl_ctx)
    else:
        comp.fire_event_with_data(event_type, fl_ctx, FLContextKey.EVENT_DATA, data)


def create_analytic_dxo(tag: str, value: object, data_type: Any, **kwargs: Any) -> DXO:
    """Return a logged value as a DXO."""
    from nvflare.apis.analytix import AnalyticsData, AnalyticsDataType

    writer = kwargs.pop("writer", LogWriterName.TORCH_TB)
    return AnalyticsData(tag, value, AnalyticsDataType(data_type), sender=LogWriterName(writer), **kwargs).to_dxo()


class AnalyticsSender(Widget):
    """Logs values of a component.

    Args:
        event_type: the event that is fired for each.
        writer_name: the library with which they are logged.
    """

    def __init__(
        self, event_type: str = ANALYTIC_EVENT_TYPE, writer_name: LogWriterName = LogWriterName.TORCH_TB
    ) -> None:
        super().__init__()
        self.event_type = event_type
        self.writer_name = writer_name
        self._engine: object = None

    def get_writer_name(self) -> LogWriterName:
        """Return the library with which values are logged."""
        return self.writer_name

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Keep the engine."""
        if event_type == EventType.ABOUT_TO_START_RUN:
            self._engine = fl_ctx.get_engine()

    def add(self, tag: str, value: object, data_type: object, **kwargs: object) -> None:
        """Log a value.

        Raises:
            RuntimeError: there is no run.
        """
        engine = self._engine
        if engine is None:
            raise RuntimeError(f"{type(self).__name__} is not part of a run")
        context: FLContext = engine.new_context()  # type: ignore[attr-defined]  # an Engine
        send_analytic_dxo(self, create_analytic_dxo(tag, value, data_type, **kwargs), context, self.event_type, True)


class AnalyticsReceiver(Widget, ABC):
    """Stores logged values.

    Args:
        events: the events that bring them.
    """

    def __init__(self, events: list[str] | None = None) -> None:
        super().__init__()
        self.events = events or [ANALYTIC_EVENT_TYPE, f"fed.{ANALYTIC_EVENT_TYPE}"]

    @abstractmethod
    def initialize(self, fl_ctx: FLContext) -> None:
        """Prepare for the run."""

    @abstractmethod
    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Store a value, which is in a DXO of :class:`nvflare.apis.analytix.AnalyticsData`."""

    @abstractmethod
    def finalize(self, fl_ctx: FLContext) -> None:
        """Finish."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Store a value."""
        if event_type == EventType.START_RUN:
            self.initialize(fl_ctx)
        elif event_type == EventType.END_RUN:
            self.finalize(fl_ctx)
        elif event_type in self.events:
            data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
            if isinstance(data, Shareable):
                origin = data.get_peer_prop("__identity_name__", None) or fl_ctx.get_identity_name()
                self.save(fl_ctx, data, str(origin))
