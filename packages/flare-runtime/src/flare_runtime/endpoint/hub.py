"""Hub: sends and receives for the parties that one process serves, through its cell.

A cell serves the server, one site, or several sites of a simulation. So every frame names its sending and its receiving
party, and the receiver checks that the sender's cell serves the party for which it speaks. The topics, whose payloads
are described in docs/wire.md:

    endpoint.call     (request) a request to a party
    endpoint.open     (request) a stream that another party opens
    endpoint.message  a message to a party
    endpoint.stream   a frame of a stream
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flare_core import PartyError
from flare_core.endpoint import StreamHandler
from flare_runtime.endpoint.directory import SERVER, Directory, remaining
from flare_runtime.endpoint.endpoint import Endpoint
from flare_runtime.endpoint.stream import PartyStream
from flare_transport import Cell, Message, Raw, RemoteError, SocketLink, TransportError, blocking
from flare_transport.address import speaks_for
from flare_transport.replies import PendingReply

logger = logging.getLogger(__name__)

CHECK_S = 30.0  # how long the server may take to answer where the sender of a frame is
MOST_STREAMS = 1024  # open between one cell and another

_Key = tuple[str, int, bool]  # the cell at the other end, the stream's number, and True if it was opened here


class Hub:
    """Connects the endpoints of one process with those in others; created before its cell has links.

    Args:
        cell: the cell of the process.
        ask: requests the place of an unknown party; see :class:`Directory`.
    Attributes:
        seals: messages between sites are sealed, and unsealed ones are refused.
    """

    def __init__(self, cell: Cell, ask: Callable[[str], None]) -> None:
        self.cell = cell
        self.seals = False
        self.directory = Directory(ask, self._moved)
        self._endpoints: dict[str, Endpoint] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._streams: dict[_Key, PartyStream] = {}
        self._pending: dict[PendingReply, tuple[str, str]] = {}  # requests, with the receiving party and its cell
        self._aborted: deque[_Key] = deque(maxlen=MOST_STREAMS)  # aborted when they were over, or not yet opened here
        self._loop: Cell | None = None  # a second cell, for traffic between parties of this process
        self._serve(cell)

    def endpoint(self, party: str) -> Endpoint:
        """Return the endpoint of a party that this process serves."""
        return self._endpoints.setdefault(party, Endpoint(self, party))

    def send(self, sender: str, to: str, topic: str, data: Any) -> None:
        """Send a message; see :meth:`flare_core.JobEndpoint.send`."""
        with _naming(to):
            place = self.directory.locate(to)
            self._cell_to(place).send(
                place, "endpoint.message", [sender, to, topic, data], sealed=self._is_sealed(sender, to)
            )

    def request(self, sender: str, to: str, topic: str, data: Any, timeout_s: float | None) -> Any:
        """Send a request; see :meth:`flare_core.JobEndpoint.request`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _naming(to, timeout_s, f"reply to '{topic}'"):
            place = self.directory.locate(to, deadline)
            return self._ask(place, "endpoint.call", [sender, to, topic, data], deadline)

    def open_stream(self, sender: str, to: str, topic: str, meta: Any, timeout_s: float | None) -> PartyStream:
        """Open a stream; see :meth:`flare_core.JobEndpoint.open_stream`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with _naming(to, timeout_s, f"take the stream '{topic}'"):
            place = self.directory.locate(to, deadline)
            number = next(self._numbers)
            stream = self._new_stream(place, number, sender, to, topic, meta, opened_here=True)
            try:
                self._ask(place, "endpoint.open", [sender, to, topic, number, meta], deadline)
            except BaseException as error:
                stream.abort(f"it could not be opened: {error}")
                raise
            return stream

    def close(self, reason: str) -> None:
        """End all requests and streams, and refuse new ones; streams are aborted at their other ends, too."""
        self.directory.close(reason)
        with self._lock:
            loop = self._loop
            streams, pending = list(self._streams.values()), dict(self._pending)
        for stream in streams:
            stream.abort(reason)
        for each, (party, _) in pending.items():
            each.fail(PartyError(f"{party} cannot be reached any more: {reason}", party=party))
        if loop is not None:
            loop.close(wait=False)

    def fail_below(self, peer: str, reason: str) -> None:
        """Fail requests and streams with a lost cell and all cells below it."""
        for party in self.directory.at(peer):
            self._fail(party, peer, reason)

    def _moved(self, party: str, cell: str, reason: str) -> None:
        """Fail requests and streams with the cell that served a party until now."""
        self._fail(party, cell, reason or f"it is no longer served by {cell}")

    def _fail(self, party: str, cell: str, reason: str) -> None:
        def is_lost(each: str, at: str) -> bool:
            return each == party and speaks_for(cell, at)

        with self._lock:
            streams = [each for (at, *_), each in self._streams.items() if is_lost(each.peer, at)]
            pending = [each for each, (asked, at) in self._pending.items() if is_lost(asked, at)]
        error = PartyError(f"{party} is lost: {reason}", party=party)
        for stream in streams:
            stream.fail(error)
        for reply in pending:
            reply.fail(error)

    def _serve(self, cell: Cell) -> None:
        cell.handle("endpoint.call", self._on_call)
        cell.handle("endpoint.open", self._on_open)
        cell.handle("endpoint.message", self._on_call)
        cell.handle("endpoint.stream", self._on_stream)

    def _cell_to(self, place: str) -> Cell:
        """Return the cell for sending to another one: a cell cannot send to itself, so that takes a second cell."""
        if place != self.cell.name:
            return self.cell
        with self._lock:
            if self._loop is None:
                loop = Cell(f"{self.cell.name}.loop")
                self._serve(loop)
                ours, theirs = SocketLink.pair(loop.name, self.cell.name)
                self.cell.attach(theirs)
                loop.attach(ours)
                self._loop = loop
            return self._loop

    def _is_sealed(self, sender: str, to: str) -> bool:
        return self.seals and SERVER not in (sender, to)

    def _ask(self, place: str, topic: str, payload: list[Any], deadline: float | None) -> Any:
        sender, to = payload[:2]
        pending = self._cell_to(place).start_request(place, topic, payload, sealed=self._is_sealed(sender, to))
        with self._lock:
            self._pending[pending] = (to, place)
        try:
            self._check_still_at(to, place)
            return pending.result(remaining(deadline)).payload
        except BaseException:
            pending.cancel()
            raise
        finally:
            with self._lock:
                del self._pending[pending]

    def _check_still_at(self, party: str, place: str) -> None:
        """Detect a loss between the moment when a party was located and the registration of a request to it."""
        self.directory.check_open(party)
        found = self.directory.get(party)
        if found is not None and found.cell != place:
            raise PartyError(f"{party} is lost: it is no longer served by {place}", party=party)

    def _new_stream(
        self, place: str, number: int, party: str, peer: str, topic: str, meta: Any, *, opened_here: bool
    ) -> PartyStream:
        key = (place, number, opened_here)
        cell, sealed = self._cell_to(place), self._is_sealed(party, peer)

        def send(header: dict[str, Any], body: bytes | memoryview) -> None:
            with _naming(peer):
                extra = {"id": number, "opener": opened_here, **header}
                cell.send(place, "endpoint.stream", Raw(body, extra), sealed=sealed)

        stream = PartyStream(peer, topic, meta, send=send, forget=lambda: self._forget(key))
        with self._lock:
            if key in self._aborted:  # the opener has given up before its request was handled here
                raise PartyError(f"{peer} has aborted the stream '{topic}' already", party=peer)
            if key in self._streams or sum(each[0] == place for each in self._streams) >= MOST_STREAMS:
                raise PartyError(f"{peer} has {MOST_STREAMS} streams with {party}, which is the limit", party=peer)
            self._streams[key] = stream
        return stream

    def _forget(self, key: _Key) -> None:
        with self._lock:
            self._streams.pop(key, None)

    def _receiver(self, message: Message, sender: Any, to: Any) -> Endpoint:
        """Return the endpoint that a frame is for, after checking its sender.

        Raises:
            PartyError: another cell serves the party that the frame names as its sender, or this cell does not serve
                the receiver.
        """
        found = self._endpoints.get(to)
        if found is None:
            raise PartyError(f"{self.cell.name} does not serve {to!r}", party=str(to))
        if self._is_sealed(sender, to) and not message.was_sealed:
            raise PartyError(f"{message.sender} spoke for {sender} in an unsealed message", party=str(sender))
        self.directory.check_sender(sender, message.sender, CHECK_S)
        return found

    def _on_call(self, message: Message) -> Any:
        sender, to, topic, data = _fields(message, 4)
        handler = self._receiver(message, sender, to).handler(topic)
        with blocking():  # the user's handler may wait for anything
            return handler(sender, data)

    def _on_open(self, message: Message) -> None:
        sender, to, topic, number, meta = _fields(message, 5)
        receiver = self._receiver(message, sender, to)
        handler = receiver.stream_handler(topic)
        stream = self._new_stream(message.sender, number, to, sender, topic, meta, opened_here=False)
        threading.Thread(
            target=_handle_stream, args=(handler, stream), name=f"flare-stream-{topic}", daemon=True
        ).start()

    def _on_stream(self, message: Message) -> None:
        header = dict(message.extra or {})
        number, is_openers = header.pop("id", None), bool(header.pop("opener", False))
        stream = self._streams.get((message.sender, number, not is_openers))
        if stream is None:
            if is_openers and "abort" in header:
                with self._lock:
                    self._aborted.append((message.sender, number, False))
            return  # this end has forgotten the stream
        if self.seals and stream.peer != SERVER and not message.was_sealed:
            raise PartyError(f"{message.sender} sent an unsealed frame", party=stream.peer)
        stream.receive(header, message.body)


def _handle_stream(handler: StreamHandler, stream: PartyStream) -> None:
    """Run the user's handler of a stream, and close the stream when it returns."""
    try:
        with stream:
            handler(stream)
    except PartyError as error:  # caused by the other end
        logger.info("stream ended topic=%r peer=%s reason=%s", stream.topic, stream.peer, error)
    except Exception:
        logger.exception("stream handler failed topic=%r peer=%s", stream.topic, stream.peer)


@contextmanager
def _naming(party: str, timeout_s: float | None = None, what: str = "") -> Iterator[None]:
    """Turn errors into ones that name the party, and what it did not do in time."""
    try:
        yield
    except TimeoutError as error:
        raise TimeoutError(
            str(error) if timeout_s is None else f"{party} did not {what} within {timeout_s} s"
        ) from error
    except RemoteError as error:
        text = str(error).partition(": ")[2]  # after the name of the cell
        text = text if error.kind == PartyError.__name__ else f"{error.kind}: {text}"
        raise PartyError(f"{party}: {text}", party=party) from error
    except TransportError as error:
        raise PartyError(f"{party} cannot be reached: {error}", party=party) from error


def _fields(message: Message, count: int) -> Any:
    """Return the fields of a payload, of which the first three must be strings.

    Raises:
        PartyError: the payload is malformed.
    """
    payload = message.payload
    if not isinstance(payload, list) or len(payload) != count or not all(isinstance(each, str) for each in payload[:3]):
        raise PartyError(f"{message.sender} sent a '{message.topic}' that cannot be read here", party=message.sender)
    return payload
