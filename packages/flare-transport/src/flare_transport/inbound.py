"""Dispatch of the frames that arrive over one link of a cell."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
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

logger = logging.getLogger(__name__)

MAX_STRANDS = 1024
MAX_REPLYING = 16  # replies that may wait in send() at the same time, each holding a thread
MAX_PARKED_BYTES = 1 << 26  # requests that wait for one of those; beyond this the link ends
REQUEST_BYTES = 1 << 10  # estimated memory of a parked request besides its body

Handler: TypeAlias = Callable[[Message], Any]


@dataclass(kw_only=True, eq=False)
class Inbound:
    """Receiver of one link's frames. Called on the thread of the link, where it must never block.

    Attributes:
        name: of the cell.
        link: over which the frames arrive.
        is_uplink: frames of any cell above may arrive over it.
        handlers: by topic; whether each is called on the thread of the link.
        replies, streams, pool, forwarder: the cell's.
        seals: returns the cell's sealer, if it has one.
        lost: called with the name of a cell beyond the link that is lost, and the reason.
    """

    name: str
    link: Link
    is_uplink: bool
    handlers: dict[str, tuple[Handler, bool]]
    replies: PendingReplies
    streams: Streams
    pool: HandlerPool
    forwarder: Forwarder
    seals: Callable[[], Sealer | None]
    lost: Callable[[str, str], None]

    def __post_init__(self) -> None:
        self._strands: dict[tuple[str, str], Strand] = {}
        self._replies_lock = threading.Lock()  # guards the three below
        self._replying = 0  # replies that are being sent
        self._parked: deque[tuple[Handler, Message]] = deque()  # requests that wait until there are fewer
        self._parked_bytes = 0

    @property
    def congested(self) -> bool:
        """True if too many bytes that came over the link wait to be forwarded."""
        return self.forwarder.is_stuck(self.link)

    def wait_until_clear(self) -> None:
        """Wait until fewer do."""
        self.forwarder.wait_while_stuck(self.link)

    def destination(self, header: list[Any], size: int) -> memoryview | None:
        """Return the buffer that a requester has provided for the body of a reply."""
        return self.replies.destination(self.link, header, size) if header[1] == self.name else None

    def deliver(self, header: list[Any], body: Buffer) -> None:
        """Dispatch a frame to its waiter or its handler.

        Raises:
            ProtocolError: the peer may not send this frame, which ends the link.
        """
        message = Message(header, body)
        kind, sender = message.kind, message.sender
        if not self._may_send_as(sender):
            raise ProtocolError(f"{self.link.peer} sent a frame in the name of {sender!r}")
        if message.to != self.name:
            self.forwarder.forward(self.link, header, body)
        elif kind in (Kind.REPLY, Kind.ERROR):
            pending = self.replies.take(message.id, self.link, sender)
            if pending is not None:
                pending.settle(message)
        elif kind == Kind.REQUEST:
            handler, _ = self.handlers.get(message.topic, _UNSERVED)
            self.pool.submit(partial(self._answer_in_turn, handler, message))
        elif kind == Kind.STREAM:
            self.streams.deliver(self.link, message)
        elif kind == Kind.LOST:
            self._on_lost(message)
        else:
            self._on_message(message)

    def _may_send_as(self, sender: str) -> bool:
        """Return whether this link may carry frames of ``sender``: the peer and below, or, for an uplink, any above."""
        return speaks_for(self.link.peer, sender) or (self.is_uplink and not speaks_for(self.name, sender))

    def _on_lost(self, message: Message) -> None:
        name = message.topic
        if self._may_send_as(name) and name != self.link.peer:
            self.lost(name, bytes(message.body).decode("utf-8", "replace"))

    def _on_message(self, message: Message) -> None:
        handler, inline = self.handlers.get(message.topic, _UNSERVED)
        if inline:
            self._handle(handler, message)
            return
        key = (message.sender, message.topic)
        strand = self._strands.get(key)
        if strand is None:
            if len(self._strands) >= MAX_STRANDS:  # peers choose topics freely, so idle strands are dropped
                self._strands = {key: each for key, each in self._strands.items() if not each.is_idle}
            strand = self._strands[key] = Strand(self.pool)
        strand.submit(partial(self._handle, handler, message))

    def _answer_in_turn(self, handler: Handler, message: Message) -> None:
        """Answer a request, or park it while too many replies wait for the peer to read, as each holds a thread.

        A peer that sends requests but reads no replies would otherwise use up the threads or the memory of this cell;
        its link ends when too many requests are parked.
        """
        with self._replies_lock:
            if self._replying >= MAX_REPLYING:
                self._parked.append((handler, message))
                self._parked_bytes += len(message.body) + REQUEST_BYTES
                if self._parked_bytes > MAX_PARKED_BYTES:
                    self._parked.clear()
                    self._parked_bytes = 0
                    self.link.close()
                    logger.warning("link closed, the peer sends requests and reads no replies peer=%s", self.link.peer)
                return
        try:
            self._answer(handler, message)
        finally:
            self._unpark()

    def _unpark(self) -> None:
        """Resume one parked request, after another was answered or has failed; each resumes the next."""
        with self._replies_lock:
            if not self._parked:
                return
            handler, message = self._parked.popleft()
            self._parked_bytes -= len(message.body) + REQUEST_BYTES
        self.pool.submit(partial(self._answer_in_turn, handler, message))

    def _send_reply(self, frame: Any) -> None:
        with self._replies_lock:
            self._replying += 1
        try:
            self.link.send(frame)
        finally:
            with self._replies_lock:
                self._replying -= 1

    def _answer(self, handler: Handler, message: Message) -> None:
        """Run a handler and send its result; any failure is reported to the requester."""
        keys = None  # so the error of a request that cannot be opened is sent unsealed
        try:
            opened, keys = self._opened(message)
            outcome, kind = handler(opened), Kind.REPLY
        except BaseException as error:
            if not isinstance(error, FlareError):
                logger.exception("handler failed topic=%r sender=%s", message.topic, message.sender)
            outcome, kind = describe(error), Kind.ERROR
        try:
            try:
                self._reply(kind, message, outcome, keys)
            except PeerLostError:
                raise
            except Exception as error:
                logger.exception("cannot send reply topic=%r sender=%s", message.topic, message.sender)
                self._reply(Kind.ERROR, message, describe(error), keys)
        except PeerLostError:
            logger.info("reply not sent, peer is lost topic=%r peer=%s", message.topic, message.sender)

    def _opened(self, message: Message) -> tuple[Message, Session | None]:
        """Return a message with its payload decrypted, and the keys for the reply; None if it is not sealed."""
        if not message.extra or "seal" not in message.extra:
            return message, None
        sealer = self.seals()
        if sealer is None:
            raise UnreachableError(f"{self.name} cannot open sealed messages; call seal_with(credentials) there")
        keys = sealer.keys_of(message)
        return sealer.open(message, keys), keys

    def _reply(self, kind: int, message: Message, outcome: Any, keys: Session | None) -> None:
        if keys is not None:
            sealer = self.seals()
            assert sealer is not None, "_opened has used it"
            outcome = sealer.seal(kind, message.sender, message.topic, message.id, outcome, keys)
        self._send_reply(pack(kind, message.sender, self.name, message.topic, message.id, outcome))

    def _handle(self, handler: Handler, message: Message) -> None:
        try:
            handler(self._opened(message)[0])
        except FlareError as error:
            logger.warning("message refused topic=%r sender=%s reason=%s", message.topic, message.sender, error)
        except Exception:
            logger.exception("handler failed topic=%r sender=%s", message.topic, message.sender)


def _no_handler(message: Message) -> Any:
    if message.kind == Kind.REQUEST:
        raise UnreachableError(f"{message.to} does not serve '{message.topic[:200]}'")
    logger.warning("message dropped, no handler topic=%r sender=%s", message.topic, message.sender)


_UNSERVED: tuple[Handler, bool] = (_no_handler, True)
