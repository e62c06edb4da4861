"""Events of an administrator's session, and their handlers, which are named in ``local/resources.json`` of the kit.

Properties that a handler sets with :meth:`EventContext.set_custom_prop` before ``submit_job`` travel in the job's meta
data, where its parts find them: ``fl_ctx.get_prop(ReservedKey.JOB_META)[JobMetaKey.CUSTOM_PROPS]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class EventType:
    """Names of events; a session fires BEFORE_LOGIN, LOGIN_SUCCESS, LOGIN_FAILURE and BEFORE_EXECUTE_CMD."""

    LOGIN_SUCCESS = "login_success"
    LOGIN_FAILURE = "login_failure"
    TRYING_LOGIN = "trying_login"
    SESSION_TIMEOUT = "session_timeout"
    BEFORE_LOGIN = "before_login"
    BEFORE_EXECUTE_CMD = "before_execute_cmd"
    BEFORE_DOWNLOAD_FILE = "before_download_file"
    AFTER_DOWNLOAD_FILE = "after_download_file"


class EventPropKey:
    """Names of an event's properties."""

    API = "api"
    MSG = "msg"
    USER_NAME = "user_name"
    CMD_NAME = "cmd_name"
    CMD_CTX = "cmd_ctx"
    CUSTOM_PROPS = "custom_props"


class EventContext:
    """An event's properties.

    Args:
        props: the first of them.
    """

    def __init__(self, props: dict[str, Any] | None = None) -> None:
        self.props = dict(props or {})

    def get_prop(self, key: str, default: Any = None) -> Any:
        """Return a property."""
        return self.props.get(key, default)

    def set_prop(self, key: str, value: Any) -> None:
        """Set a property."""
        self.props[key] = value

    def get_custom_prop(self, key: str, default: Any = None) -> Any:
        """Return one of the properties that travel with a command."""
        return (self.get_prop(EventPropKey.CUSTOM_PROPS) or {}).get(key, default)

    def set_custom_prop(self, key: str, value: Any) -> None:
        """Set one of the properties that travel with a command."""
        self.props.setdefault(EventPropKey.CUSTOM_PROPS, {})[key] = value


class EventHandler(ABC):
    """Handles the events of a session."""

    @abstractmethod
    def handle_event(self, event_type: str, ctx: EventContext) -> None:
        """Handle an event; what this raises ends the command, or the login.

        Args:
            event_type: one of :class:`EventType`.
            ctx: its properties, some of :class:`EventPropKey`.
        """
