"""Shareable, the dict that parties exchange: data, and headers about them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from nvflare.apis.fl_constant import ReservedKey, ReturnCode


class ReservedHeaderKey:
    """Names of headers."""

    HEADERS = "__headers__"
    TOPIC = "__topic__"
    RC = ReservedKey.RC
    COOKIE_JAR = ReservedKey.COOKIE_JAR
    PEER_PROPS = "__peer_props__"
    REPLY_IS_LATE = "__reply_is_late__"
    CONTENT_TYPE = "__content_type__"
    TASK_NAME = ReservedKey.TASK_NAME
    TASK_ID = ReservedKey.TASK_ID
    WORKFLOW = ReservedKey.WORKFLOW
    TASK_OPERATOR = "__task_operator__"
    ERROR = "__error__"
    MSG_ROOT_ID = "__msg_root_id__"
    MSG_ROOT_TTL = "__msg_root_ttl__"
    PASS_THROUGH = "__pass_through__"


class Shareable(dict[Any, Any]):
    """Data by name, with headers that travel along.

    Args:
        data: the first data.
    """

    def __init__(self, data: Mapping[Any, Any] | None = None) -> None:
        super().__init__()
        if data:
            self.update(data)
        self.setdefault(ReservedHeaderKey.HEADERS, {})

    def set_header(self, key: str, value: Any) -> None:
        """Set a header."""
        self.setdefault(ReservedHeaderKey.HEADERS, {})[key] = value

    def get_header(self, key: str, default: Any = None) -> Any:
        """Return a header."""
        return (self.get(ReservedHeaderKey.HEADERS) or {}).get(key, default)

    def get_return_code(self, default: str = ReturnCode.OK) -> Any:
        """Return the code that says how the work went."""
        return self.get_header(ReservedHeaderKey.RC, default)

    def set_return_code(self, rc: str) -> None:
        """Set the code that says how the work went."""
        self.set_header(ReservedHeaderKey.RC, rc)

    def add_cookie(self, name: str, data: Any) -> None:
        """Add a value that a site's reply brings back."""
        jar = self.get_cookie_jar()
        if jar is None:
            jar = {}
            self.set_cookie_jar(jar)
        jar[name] = data

    def get_cookie_jar(self) -> Any:
        """Return the values that a site's reply brings back."""
        return self.get_header(ReservedHeaderKey.COOKIE_JAR)

    def set_cookie_jar(self, jar: Any) -> None:
        """Set the values that a site's reply brings back."""
        self.set_header(ReservedHeaderKey.COOKIE_JAR, jar)

    def get_cookie(self, name: str, default: Any = None) -> Any:
        """Return one of the values that a site's reply brings back."""
        return (self.get_cookie_jar() or {}).get(name, default)

    def set_peer_props(self, props: Mapping[str, Any]) -> None:
        """Set the public properties of the sender."""
        self.set_header(ReservedHeaderKey.PEER_PROPS, dict(props))

    def get_peer_props(self) -> Any:
        """Return the public properties of the sender."""
        return self.get_header(ReservedHeaderKey.PEER_PROPS)

    def get_peer_prop(self, key: str, default: Any) -> Any:
        """Return one public property of the sender."""
        return (self.get_peer_props() or {}).get(key, default)

    def set_peer_context(self, peer_ctx: Any) -> None:
        """Set the public properties of the sender from its context."""
        self.set_peer_props(peer_ctx.get_all_public_props())

    def get_peer_context(self) -> Any:
        """Return a context with the public properties of the sender; None if there are none."""
        from nvflare.apis.fl_context import FLContext

        props = self.get_peer_props()
        if props is None:
            return None
        ctx = FLContext()
        ctx.set_public_props(props)
        return ctx

    def to_bytes(self) -> bytes:
        """Serialize the shareable."""
        from nvflare.fuel.utils import fobs

        data: bytes = fobs.dumps(self)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Any:
        """Return the shareable that :meth:`to_bytes` serialized."""
        from nvflare.fuel.utils import fobs

        return fobs.loads(data)


def make_reply(rc: str, headers: Mapping[str, Any] | None = None) -> Shareable:
    """Return a reply without data.

    Args:
        rc: how the work went, one of :class:`ReturnCode`.
        headers: further headers.
    """
    reply = Shareable()
    reply.set_return_code(rc)
    for key, value in (headers or {}).items():
        reply.set_header(key, value)
    return reply


def make_copy(source: Shareable, exclude_headers: Iterable[str] | None = None) -> Shareable:
    """Return a copy whose headers can be changed; its data are shared.

    Args:
        source: the original.
        exclude_headers: headers to leave out.
    """
    excluded = set(exclude_headers or ())
    copied = Shareable({key: value for key, value in source.items() if key != ReservedHeaderKey.HEADERS})
    headers = copy.copy(source.get(ReservedHeaderKey.HEADERS) or {})
    copied[ReservedHeaderKey.HEADERS] = {key: value for key, value in headers.items() if key not in excluded}
    return copied
