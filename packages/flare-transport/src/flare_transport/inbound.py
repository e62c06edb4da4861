"""What a cell does with the frames that arrive over one of its links."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from flare_core.errors import FlareError
from flare_transport.address import speaks_for
from flare_transport.errors import PeerLostError, ProtocolError, UnreachableError, describe
from flare_transport.forwarding import Forwarder
from flare_transport.frames import Buffer, Kind, Message, pack
from flare_transport.links.base import Link
from flare_transport.replies import PendingReplies
from flare_transport.streams import Streams
from flare_transport.workers import HandlerPool, Strand

if TYPE_CHECKING:
    from flare_transport.sealing import Sealer, Session

__all__ = ["Handler", "Inbound"]

logger = logging.getLogger(__name__)

MAX_STRANDS = 1024
MOST_REPLYING = 16  # replies of one link that may wait for its peer at the same time
MOST_PARKED_BYTES = 1 << 26  # of requests that wait for that; then the link ends
REQUEST_BYTES = 1 << 10  # what a request takes besides its body

Handler: TypeAlias = Callable[[Message], Any]

_REQUEST, _REPLY, _ERROR, _STREAM, _LOST = map(int, (Kind.REQUEST, Kind.REPLY, Kind.ERROR, Kind.STREAM, Kind.LOST))


class Inbound:
    """The cell as one of its links sees it. The link's thread calls it, and must never wait here."""

    def __init__(
        self,
        name: str,
        link: Link,
        *,
        is_uplink: bool,
        handlers: dict[str, tuple[Handler, bool]],
        replies: PendingReplies,
        streams: Streams,
        pool: HandlerPool,
        forwarder: Forwarder,
        seals: Callable[[], Sealer | None],
        lost: Callable[[str, str], None],
    ) -> None:
        self._name = name
        self._link = link
        self._peer, self._below_peer = link.peer, f"{link.peer}."
        self._handlers = handlers
        self._replies = replies
        self._streams = streams
        self._pool = pool
        self._forwarder = forwarder
        self._seals = seals
        self._lost = lost
        self._is_uplink = is_uplink
        self._strands: dict[tuple[str, str], Strand] = {}
        self._turns = threading.Lock()
        self._replying = 0  # replies on their way into the link
        self._parked: deque[tuple[Handler, Message]] = deque()  # requests that wait until there are fewer
        self._parked_bytes = 0

    @property
    def congested(self) -> bool:
        """Whether much that came over the link waits to be passed on."""
        return self._forwarder.is_stuck(self._link)

    def wait_until_clear(self) -> None:
        """Wait until less does."""
        self._forwarder.wait_while_stuck(self._link)

    def destination(self, header: list[Any], size: int) -> memoryview | None:
        """Where the body of a reply goes that the asker has prepared a place for."""
        return self._replies.destination(self._link, header, size) if header[1] == self._name else None

    def deliver(self, header: list[Any], body: Buffer) -> None:
        """Hand a frame to whoever waits for it or serves it.

        Raises:
            ProtocolError: the peer may not send such a frame.
        """
        message = Message(header, body)
        kind, sender = message.kind, message.sender
        if sender != self._peer and not self._may_say(sender):
            raise ProtocolError(f"{self._peer} sent a frame in the name of {sender!r}")
        if message.to != self._name:
            self._forwarder.forward(self._link, header, body)
        elif kind in (_REPLY, _ERROR):
            pending = self._replies.take(message.id, self._link, sender)
            if pending is not None:
                pending.settle(message)
        elif kind == _REQUEST:
            handler, _ = self._handlers.get(message.topic, _UNSERVED)
            self._pool.submit(partial(self._answer_in_turn, handler, message))
        elif kind == _STREAM:
            self._streams.deliver(self._link, message)
        elif kind == _LOST:
            self._note_lost(message)
        else:
            self._one_way(message)

    def _may_say(self, sender: str) -> bool:
        """Whether frames of ``sender`` may come over this link: of cells below the peer, or from above of any other."""
        return sender.startswith(self._below_peer) or (self._is_uplink and not speaks_for(self._name, sender))

    def _note_lost(self, message: Message) -> None:
        name = message.topic
        if self._may_say(name) and name != self._peer:
            self._lost(name, bytes(message.body).decode("utf-8", "replace"))

    def _one_way(self, message: Message) -> None:
        handler, inline = self._handlers.get(message.topic, _UNSERVED)
        if inline:
            self._handle(handler, message)
            return
        key = (message.sender, message.topic)
        strand = self._strands.get(key)
        if strand is None:
            if len(self._strands) >= MAX_STRANDS:  # a peer can send in as many names as it likes
                self._strands = {key: each for key, each in self._strands.items() if not each.is_idle}
            strand = self._strands[key] = Strand(self._pool)
        strand.submit(partial(self._handle, handler, message))

    def _answer_in_turn(self, handler: Handler, message: Message) -> None:
        """Answer a request; not before replies that the peer is slow to take, as each of those holds a thread.

        The link of a peer that has very many requests wait for that ends.
        """
        with self._turns:
            if self._replying >= MOST_REPLYING:
                self._parked.append((handler, message))
                self._parked_bytes += len(message.body) + REQUEST_BYTES
                if self._parked_bytes > MOST_PARKED_BYTES:
                    self._parked.clear()
                    self._parked_bytes = 0
                    self._link.close()
                    logger.warning("link ended, its peer asks much and takes no replies peer=%s", self._peer)
                return
        try:
            self._answer(handler, message)
        finally:
            self._unpark()

    def _unpark(self) -> None:
        """Answer one of the requests that wait, now that one more is done with, whether it could be answered or not."""
        with self._turns:
            if not self._parked:
                return
            handler, message = self._parked.popleft()
            self._parked_bytes -= len(message.body) + REQUEST_BYTES
        self._pool.submit(partial(self._answer_in_turn, handler, message))

    def _send_reply(self, frame: Any) -> None:
        with self._turns:
            self._replying += 1
        try:
            self._link.send(frame)
        finally:
            with self._turns:
                self._replying -= 1

    def _answer(self, handler: Handler, message: Message) -> None:
        """Run a handler and send what comes of it; whatever goes wrong, the asker hears of it."""
        keys = None
        try:
            found = self._keys_of(message)
            opened = self._opened(message, found)
            keys = found
            outcome, kind = handler(opened), _REPLY
        except BaseException as error:
            if not isinstance(error, FlareError):
                logger.exception("handler failed topic=%r sender=%s", message.topic, message.sender)
            outcome, kind = describe(error), _ERROR
        try:
            try:
                self._reply(kind, message, outcome, keys)
            except PeerLostError:
                raise
            except Exception as error:
                logger.exception("reply cannot be sent topic=%r sender=%s", message.topic, message.sender)
                self._reply(_ERROR, message, describe(error), keys)
        except PeerLostError:
            logger.info("reply not sent, peer is gone topic=%r peer=%s", message.topic, message.sender)

    def _keys_of(self, message: Message) -> Session | None:
        """The keys of a message that is sealed; None if it is not."""
        if not message.extra or "seal" not in message.extra:
            return None
        sealer = self._seals()
        if sealer is None:
            raise UnreachableError(f"{self._name} opens no sealed messages; give it credentials for that")
        return sealer.keys_of(message)

    def _opened(self, message: Message, keys: Session | None) -> Message:
        if keys is None:
            return message
        sealer = self._seals()
        assert sealer is not None, "it has found the keys"
        return sealer.open(message, keys)

    def _reply(self, kind: int, message: Message, outcome: Any, keys: Session | None) -> None:
        if keys is not None:
            sealer = self._seals()
            assert sealer is not None, "it has found the keys"
            outcome = sealer.seal(kind, message.sender, message.topic, message.id, outcome, keys)
        self._send_reply(pack(kind, message.sender, self._name, message.topic, message.id, outcome))

    def _handle(self, handler: Handler, message: Message) -> None:
        try:
            handler(self._opened(message, self._keys_of(message)))
        except FlareError as error:
            logger.warning("message refused topic=%r sender=%s reason=%s", message.topic, message.sender, error)
        except Exception:
            logger.exception("handler failed topic=%r sender=%s", message.topic, message.sender)


def _no_handler(message: Message) -> Any:
    if message.kind == _REQUEST:
        raise UnreachableError(f"{message.to} does not serve '{message.topic[:200]}'")
    logger.warning("message dropped, nobody serves its topic topic=%r sender=%s", message.topic, message.sender)


_UNSERVED: tuple[Handler, bool] = (_no_handler, True)
