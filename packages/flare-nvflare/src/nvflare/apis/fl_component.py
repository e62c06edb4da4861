"""FLComponent, the base class of all components: they fire events, and handle those of others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from nvflare.apis.analytix import AnalyticsData, AnalyticsDataType
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import EventScope, FedEventHeader, FLContextKey, LogMessageTag
from nvflare.apis.fl_context import FLContext
from nvflare.apis.persistable import StatePersistable
from nvflare.apis.shareable import Shareable
from nvflare.fuel.utils.log_utils import custom_logger

EventHandler = Callable[..., None]


class FLComponent(StatePersistable):
    """A component of one party."""

    _event_handlers: dict[str, list[tuple[EventHandler, dict[str, Any]]]]
    logger: logging.Logger
    _name: str

    def __new__(cls, *arguments: Any, **named: Any) -> Any:
        """Make the object usable even if a subclass does not call ``super().__init__``."""
        made = super().__new__(cls)
        made._name = cls.__name__
        made._event_handlers = {}
        made.logger = custom_logger(logging.getLogger(f"{cls.__module__}.{cls.__name__}"))
        return made

    def __init__(self) -> None:
        """Do nothing: all is done by ``__new__``."""

    @property
    def name(self) -> str:
        """The name of the class."""
        return str(self._name)

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Let all components of this party handle an event.

        Raises:
            TypeError: an argument has the wrong type.
        """
        if not isinstance(event_type, str) or not event_type:
            raise TypeError(f"an event is a string with its name, not {event_type!r}")
        if not isinstance(fl_ctx, FLContext):
            raise TypeError(f"fl_ctx is a {type(fl_ctx).__name__}; give the FLContext of this task or of the run")
        fl_ctx.set_prop(FLContextKey.EVENT_SCOPE, EventScope.LOCAL, private=True, sticky=False)
        self._fire(event_type, fl_ctx)

    def fire_event_with_data(self, event_type: str, fl_ctx: FLContext, key: str, data: Any) -> None:
        """Fire an event with a property that is there while it is handled.

        Args:
            event_type: the event's name.
            fl_ctx: the context.
            key: the property's name.
            data: its value.
        """
        fl_ctx.set_prop(key, data, private=True, sticky=False)
        try:
            self.fire_event(event_type, fl_ctx)
        finally:
            fl_ctx.set_prop(key, None, private=True, sticky=False)

    def fire_fed_event(self, event_type: str, event_data: Shareable, fl_ctx: FLContext, targets: Any = None) -> None:
        """Fire an event here and at other parties: at the server or, from there, at the sites ``targets``.

        Args:
            event_type: the event's name.
            event_data: what comes with it.
            fl_ctx: the context.
            targets: sites; None for all parties.

        Raises:
            TypeError: an argument has the wrong type.
        """
        if not isinstance(fl_ctx, FLContext):
            raise TypeError(f"fl_ctx is a {type(fl_ctx).__name__}, not an FLContext")
        if not isinstance(event_data, Shareable):
            raise TypeError(f"event_data is a {type(event_data).__name__}, not a Shareable")
        event_data.set_header(FedEventHeader.TARGETS, targets)
        fl_ctx.set_prop(FLContextKey.EVENT_DATA, event_data, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.EVENT_SCOPE, EventScope.FEDERATION, private=True, sticky=False)
        self._fire(event_type, fl_ctx)

    def system_panic(self, reason: str, fl_ctx: FLContext) -> None:
        """End the run with an error."""
        fl_ctx.set_prop(FLContextKey.EVENT_DATA, reason, private=True, sticky=False)
        self.fire_event(EventType.FATAL_SYSTEM_ERROR, fl_ctx)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Handle an event; the default does nothing."""

    def log_info(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log a message.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        self._log(logging.INFO, fl_ctx, msg, EventType.INFO_LOG_AVAILABLE if fire_event else "", LogMessageTag.INFO)

    def log_warning(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log a warning.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        event = EventType.WARNING_LOG_AVAILABLE if fire_event else ""
        self._log(logging.WARNING, fl_ctx, msg, event, LogMessageTag.WARNING)

    def log_error(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log an error.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        self._log(logging.ERROR, fl_ctx, msg, EventType.ERROR_LOG_AVAILABLE if fire_event else "", LogMessageTag.ERROR)

    def log_debug(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log a message for debugging.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        self._log(logging.DEBUG, fl_ctx, msg, EventType.DEBUG_LOG_AVAILABLE if fire_event else "", LogMessageTag.DEBUG)

    def log_critical(self, fl_ctx: FLContext, msg: str, fire_event: bool = True) -> None:
        """Log a critical error.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        event = EventType.CRITICAL_LOG_AVAILABLE if fire_event else ""
        self._log(logging.CRITICAL, fl_ctx, msg, event, LogMessageTag.CRITICAL)

    def log_exception(self, fl_ctx: FLContext, msg: str, fire_event: bool = False) -> None:
        """Log a message with the traceback of the exception that is being handled.

        Args:
            fl_ctx: the context.
            msg: the message.
            fire_event: tell other components of it as well.
        """
        self.logger.error(_described(fl_ctx, msg), exc_info=True)
        if fire_event:
            self._fire_log(EventType.EXCEPTION_LOG_AVAILABLE, LogMessageTag.EXCEPTION, msg, fl_ctx)

    def register_event_handler(self, event_types: str | list[str], handler: EventHandler, **kwargs: Any) -> None:
        """Call ``handler(event_type, fl_ctx, **kwargs)`` for events.

        Raises:
            ValueError: an argument has the wrong type.
        """
        names = [event_types] if isinstance(event_types, str) else event_types
        if not isinstance(names, list):
            raise ValueError(f"event_types is a {type(event_types).__name__}; give one name or a list of names")
        if not callable(handler):
            raise ValueError(f"handler is a {type(handler).__name__}, which cannot be called")
        for name in names:
            entries = self._event_handlers.setdefault(name, [])
            if not any(handler == known for known, _ in entries):
                entries.append((handler, kwargs))

    def get_event_handlers(self) -> dict[str, list[tuple[EventHandler, dict[str, Any]]]]:
        """Return the registered handlers by event."""
        return self._event_handlers

    def _fire(self, event_type: str, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        if engine is not None:  # a unit test may call a component outside of a run
            fl_ctx.set_prop(FLContextKey.EVENT_ORIGIN, self._name, private=True, sticky=False)
            engine.fire_event(event_type, fl_ctx)

    def _log(self, level: int, fl_ctx: FLContext, msg: str, event: str, tag: str) -> None:
        self.logger.log(level, "%s", _described(fl_ctx, msg))
        if event:
            self._fire_log(event, tag, msg, fl_ctx)

    def _fire_log(self, event: str, tag: str, msg: str, fl_ctx: FLContext) -> None:
        if not fl_ctx:
            return
        data = AnalyticsData(tag, msg, AnalyticsDataType.TEXT).to_dxo().to_shareable()
        fl_ctx.set_prop(FLContextKey.EVENT_DATA, data, private=True, sticky=False)
        self.fire_event(event, fl_ctx)


def _described(fl_ctx: FLContext, msg: str) -> str:
    if not isinstance(fl_ctx, FLContext):
        return msg
    party, task = fl_ctx.get_identity_name(), fl_ctx.get_prop(FLContextKey.TASK_NAME)
    where = ", ".join(f"{name}={value}" for name, value in (("party", party), ("task", task)) if value)
    return f"[{where}] {msg}" if where else msg
