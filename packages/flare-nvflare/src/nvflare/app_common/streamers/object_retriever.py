"""ObjectRetriever: what components share that fetch something from another party."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from flare_core import Stream
from flare_core.errors import PartyError
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.streamers.transfer import code_of, read_line, within, write_head


class ObjectRetriever(FLComponent, ABC):
    """Fetches something from another party that has the same component.

    Args:
        topic: tells it from others of its class.
    """

    def __init__(self, topic: str | None = None) -> None:
        super().__init__()
        self.topic = topic or type(self).__name__

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Offer what this party has."""
        if event_type == EventType.START_RUN:
            fl_ctx.get_engine().endpoint.handle_stream(f"nvflare.retrieve.{self.topic}", self._provide)

    def retrieve(self, from_site: str, fl_ctx: FLContext, timeout: float, **obj_attrs: Any) -> tuple[str, Any]:
        """Return a return code, and what was fetched.

        Args:
            from_site: the party that has it.
            fl_ctx: the context.
            timeout: seconds that it may take.
            obj_attrs: what is wanted.
        """
        engine = fl_ctx.get_engine()
        try:
            stream = engine.endpoint.open_stream(from_site, f"nvflare.retrieve.{self.topic}", obj_attrs)
            with stream:
                found: tuple[str, Any] = within(timeout, stream, lambda: self._take(stream, obj_attrs, fl_ctx))
                return found
        except (TimeoutError, PartyError) as error:
            self.log_error(fl_ctx, f"{obj_attrs} was not fetched from {from_site}: {error}")
            return code_of(error), None

    def _take(self, stream: Stream, wanted: dict[str, Any], fl_ctx: FLContext) -> tuple[str, Any]:
        head, rest = read_line(stream)
        if head["rc"] != ReturnCode.OK:
            self.log_error(fl_ctx, f"{stream.peer} has refused {wanted}: {head.get('reason')}")
            return str(head["rc"]), None
        return ReturnCode.OK, self.take(stream, rest, wanted, fl_ctx)

    def _provide(self, stream: Stream) -> None:
        try:
            found = self.find(stream.meta)
        except (KeyError, ValueError, OSError) as error:
            write_head(stream, rc=ReturnCode.BAD_REQUEST_DATA, reason=str(error))
            return
        write_head(stream, rc=ReturnCode.OK)
        self.provide(stream, found)

    @abstractmethod
    def find(self, wanted: dict[str, Any]) -> Any:
        """Return what another party wants; raise a KeyError, ValueError or OSError if it cannot have it."""

    @abstractmethod
    def provide(self, stream: Stream, found: Any) -> None:
        """Write it to the stream."""

    @abstractmethod
    def take(self, stream: Stream, first: bytes, wanted: dict[str, Any], fl_ctx: FLContext) -> Any:
        """Return what the stream has; ``first`` was read already."""
