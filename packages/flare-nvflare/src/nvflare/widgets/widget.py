"""Widget, a component that only handles events."""

from nvflare.apis.fl_component import FLComponent


class WidgetID:
    """Ids of components that the system has."""

    INFO_COLLECTOR = "info_collector"
    COMPONENT_CALLER = "component_caller"
    FED_EVENT_RUNNER = "fed_event_runner"


class Widget(FLComponent):
    """A component that only handles events."""
