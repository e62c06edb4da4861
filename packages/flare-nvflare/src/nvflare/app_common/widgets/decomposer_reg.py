"""DecomposerRegister: registers types for serialization."""

from __future__ import annotations

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.class_loader import load_class
from nvflare.widgets.widget import Widget


class DecomposerRegister(Widget):
    """Registers decomposers at the start of the run.

    Args:
        classes: their class paths.
    """

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        self.classes = classes

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Register them."""
        if event_type in (EventType.ABOUT_TO_START_RUN, EventType.START_RUN):
            for each in self.classes:
                fobs.register(load_class(each))
