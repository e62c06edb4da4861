"""ConvertToFedEvent: sends events to the server. Metrics of scripts are sent by Flare itself."""

from __future__ import annotations

from nvflare.apis.fl_constant import EventScope, FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.widgets.widget import Widget

FED_EVENT_PREFIX = "fed."


class ConvertToFedEvent(Widget):
    """Fires an event of this party at the server as well, with a prefix.

    Args:
        events_to_convert: the events.
        fed_event_prefix: the prefix.
    """

    def __init__(self, events_to_convert: list[str], fed_event_prefix: str = FED_EVENT_PREFIX) -> None:
        super().__init__()
        self.events_to_convert = events_to_convert
        self.fed_event_prefix = fed_event_prefix

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Send an event."""
        data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
        is_local = fl_ctx.get_prop(FLContextKey.EVENT_SCOPE) == EventScope.LOCAL
        if event_type in self.events_to_convert and is_local and isinstance(data, Shareable):
            self.fire_fed_event(self.fed_event_prefix + event_type, data, fl_ctx)
