"""Endpoint: one party's access to the others, as its services, scripts and workflows see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flare_core import PartyError
from flare_core.endpoint import RequestHandler, StreamHandler
from flare_runtime.endpoint.directory import Directory
from flare_runtime.endpoint.stream import PartyStream

if TYPE_CHECKING:
    from flare_runtime.endpoint.hub import Hub


class Endpoint:
    """One party's endpoint, as :class:`flare_core.JobEndpoint` describes it; created by :meth:`Hub.endpoint`."""

    def __init__(self, hub: Hub, party: str) -> None:
        self.party = party
        self._hub = hub
        self._handlers: dict[str, RequestHandler] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}

    @property
    def parties(self) -> tuple[str, ...]:
        return self._hub.directory.parties

    @property
    def directory(self) -> Directory:
        """The directory of the parties in this process."""
        return self._hub.directory

    def send(self, to: str, topic: str, data: Any = None) -> None:
        self._check_other(to)
        self._hub.send(self.party, to, topic, data)

    def request(self, to: str, topic: str, data: Any = None, *, timeout_s: float | None = None) -> Any:
        self._check_other(to)
        return self._hub.request(self.party, to, topic, data, timeout_s)

    def handle(self, topic: str, handler: RequestHandler) -> None:
        self._handlers[topic] = handler

    def open_stream(self, to: str, topic: str, meta: Any = None, *, timeout_s: float | None = None) -> PartyStream:
        self._check_other(to)
        return self._hub.open_stream(self.party, to, topic, meta, timeout_s)

    def handle_stream(self, topic: str, handler: StreamHandler) -> None:
        self._stream_handlers[topic] = handler

    def handler(self, topic: str) -> RequestHandler:
        """Return the handler for requests and messages of a topic.

        Raises:
            PartyError: there is none.
        """
        if topic not in self._handlers:
            raise PartyError(f"{self.party} does not handle '{topic}'", party=self.party)
        return self._handlers[topic]

    def stream_handler(self, topic: str) -> StreamHandler:
        """Return the handler for streams of a topic.

        Raises:
            PartyError: there is none.
        """
        if topic not in self._stream_handlers:
            raise PartyError(f"{self.party} does not handle streams of '{topic}'", party=self.party)
        return self._stream_handlers[topic]

    def _check_other(self, to: str) -> None:
        if to == self.party:
            raise PartyError(f"{to} is this party itself; call the handler directly", party=to)
