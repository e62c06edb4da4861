"""Cells: named ends of conversations. A cell sends messages, asks for replies and serves topics, over its links."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flare_transport.address import check_name, parse_address
from flare_transport.authentication import Credentials
from flare_transport.errors import AuthenticationError, PeerLostError, ProtocolError, UnreachableError
from flare_transport.forwarding import Forwarder, Policy
from flare_transport.frames import Kind, Message, pack
from flare_transport.inbound import Handler, Inbound
from flare_transport.link_table import LinkTable
from flare_transport.links import scheme
from flare_transport.links.base import Admits, Identity, Link, Listener
from flare_transport.replies import PendingReplies, PendingReply
from flare_transport.stream_writer import StreamWriter
from flare_transport.streams import StreamHandler, Streams
from flare_transport.workers import HandlerPool

if TYPE_CHECKING:
    from flare_transport.sealing import Sealer, Session

__all__ = ["Cell", "Handler", "PendingReply"]

logger = logging.getLogger(__name__)

_DEFAULT_WINDOW_BYTES = 1 << 24


class Cell:
    """A named end of conversations.

    Names are hierarchical: ``server``, ``site-1``, ``site-1.job-7``. Handlers run on a pool of threads, which start on
    demand. Requests are handled concurrently, in no order; messages of one topic from one cell one at a time, in the
    order in which they were sent. A handler registered ``inline`` gets messages on the thread that reads the link, so
    messages of several such topics keep their order, too; it must neither block nor send. Requests never run inline,
    as a reply may have to wait until the peer reads.

    Used as a context manager, a cell is closed at the end of the block.

    Args:
        name: this cell's own name.
        threads: how many handlers run at the same time, not counting those that wait for another cell.
        reconnect_grace_s: how long a ``grpc`` link may be without a connection, in seconds, before it ends. If it gets
            a new one in time, nothing is lost, and nobody learns of it.
        forwards: whether two cells, given by name, may talk through this one if neither is below it; None lets no two.
        admits: why a cell that has proved its name over ``grpc`` may not link, given the name and its certificate in
            PEM, or None if it may. Called on the thread that serves all ``grpc`` links, so it must not block.
    Raises:
        AddressError: a cell cannot be called so.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int = 8,
        reconnect_grace_s: float = 30.0,
        forwards: Policy | None = None,
        admits: Admits | None = None,
    ) -> None:
        self.name = check_name(name)
        self.reconnect_grace_s = reconnect_grace_s
        self.admits = admits
        self._handlers: dict[str, tuple[Handler, bool]] = {}
        self._links = LinkTable(name)
        self._listeners: list[Listener] = []
        self._listeners_lock = threading.Lock()
        self._replies = PendingReplies()
        self._pool = HandlerPool(name, threads)
        self._streams = Streams(name, self._pool)
        self._forwarder = Forwarder(name, self._links, self._pool, forwards)
        self._sealer: Sealer | None = None
        self._lost: list[Callable[[str, BaseException | None], None]] = []

    def handle(self, topic: str, handler: Handler, *, inline: bool = False) -> None:
        """Serve ``topic``: the return value of ``handler`` is the reply to a request, its exception reaches the requester.

        Args:
            topic: of the messages and requests.
            handler: called for each of them on the thread pool.
            inline: call it for messages on the thread that reads the link instead; see :class:`Cell`.
        """
        self._handlers[topic] = (handler, inline)

    def handle_stream(self, topic: str, handler: StreamHandler) -> None:
        """Serve byte streams of ``topic``; what ``handler`` raises reaches the writer."""
        self._streams.handle(topic, handler)

    def on_peer_lost(self, callback: Callable[[str, BaseException | None], None]) -> None:
        """Call back with a peer's name, and what ended its link, when a link ends by itself.

        So too when a cell that others forward to is lost, or there never was a way to it.
        """
        self._lost.append(callback)

    def listen(self, address: str, *, secret: bytes | None = None, credentials: Credentials | None = None) -> str:
        """Let peers connect; return the address for them, with its real port if port 0 was asked for.

        Args:
            address: ``inproc://name``, ``unix:///path`` or ``grpc://host:port``; a cell may listen at many.
            secret: for ``unix``, and for ``grpc`` on a loopback address: 16 bytes or more, the same at both ends.
            credentials: for ``grpc``: the certificate must speak for this cell's name.
        Raises:
            AddressError: the address cannot be read, or is in use.
            AuthenticationError: what this kind of address needs was not given, or does not fit.
            UnreachableError: the cell is closed.
        """
        where = parse_address(address)
        with self._listeners_lock:
            if self._links.closed:
                raise UnreachableError(f"the cell {self.name} is closed")
            listener = scheme(where).listen(where, _Reception(self), Identity(secret, credentials))
            self._listeners.append(listener)
        return str(listener.address)

    def connect(
        self,
        address: str,
        *,
        secret: bytes | None = None,
        credentials: Credentials | None = None,
        peer: str | None = None,
        uplink: bool = False,
        timeout_s: float = 10.0,
    ) -> str:
        """Make a link to the cell that listens at ``address``; return its name.

        Args:
            address: where it listens.
            secret, credentials: as for :meth:`listen`.
            peer: whom to expect there; required for ``grpc``, where any holder of a certificate could listen. The cell
                there has this name or one below it.
            uplink: whether this link leads to all cells that no other link leads to; frames of any cell may come over
                it. A cell has one.
            timeout_s: how long the peer may take to answer and to prove its name.
        Raises:
            AddressError: the address cannot be read.
            AuthenticationError: one end could not prove its name, or ``peer`` is not who listens there.
            UnreachableError: nobody listens there, or one end has a link to a cell of the other's name already.
        """
        where = parse_address(address)
        identity = Identity(secret, credentials)
        reception = _Reception(self, uplink=uplink)
        return scheme(where).connect(where, reception, identity, peer=peer, timeout_s=timeout_s)

    def attach(self, link: Link, *, uplink: bool = False) -> None:
        """Use a link whose peer is known, and begin to receive from it; ``uplink`` as for :meth:`connect`.

        Raises:
            UnreachableError: the cell is closed, or has a link to that peer already; the link is left as it is.
        """
        self._links.add(link, partial(self._start, uplink=uplink), reserved=False)

    def disconnect(self, peer: str) -> None:
        """End the link to a peer, if there is one; what is under way over it fails at both ends."""
        link = self._links.by_peer.get(peer)
        if link is not None:
            link.close()

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of the cells at the other ends of the links."""
        return tuple(self._links.by_peer)

    def traffic(self) -> dict[str, tuple[int, int]]:
        """Bytes sent and received by peer, over the links that are up."""
        links = self._links.by_peer.copy()
        return {peer: (link.bytes_sent, link.bytes_received) for peer, link in links.items()}

    @property
    def bytes_sent(self) -> int:
        """Bytes sent over all links so far, headers included."""
        return self._links.ended_bytes[0] + sum(sent for sent, _ in self.traffic().values())

    @property
    def bytes_received(self) -> int:
        """Bytes received over all links so far, headers included."""
        return self._links.ended_bytes[1] + sum(received for _, received in self.traffic().values())

    def seal_with(self, credentials: Credentials) -> None:
        """Be able to send, and to open, messages that only the cells at both ends can read.

        Args:
            credentials: what this cell proves its name with, and whom it trusts to vouch for others.
        Raises:
            AuthenticationError: they do not fit this cell's name.
        """
        from flare_transport.sealing import Sealer  # needs cryptography, which is an extra

        self._sealer = Sealer(self, credentials)
        self.on_peer_lost(lambda peer, error: self._seals_of_lost(peer))

    def send(self, to: str, topic: str, payload: Any = None, *, sealed: bool = False) -> None:
        """Send a message that needs no reply; it arrives after all messages that were sent to that cell before.

        Args:
            to: name of the cell.
            topic: what it is about.
            payload: any object that can be serialized, or :class:`Raw` bytes.
            sealed: let nobody but that cell read it; see :meth:`seal_with`.

        Raises:
            UnreachableError: no link leads there.
            PeerLostError: the link has ended.
            FobsError: the payload cannot be serialized.
        """
        if sealed:
            sealer, keys = self._sealing_for(to)
            payload = sealer.seal(Kind.MESSAGE, to, topic, 0, payload, keys)
        self._links.route(to).send(pack(Kind.MESSAGE, to, self.name, topic, 0, payload))

    def request(
        self,
        to: str,
        topic: str,
        payload: Any = None,
        *,
        into: memoryview | None = None,
        sealed: bool = False,
        timeout_s: float | None = None,
    ) -> Message:
        """Send a request and wait for its reply; the arguments are those of :meth:`start_request`.

        Raises:
            RemoteError: the handler raised.
            PeerLostError: the link ended first.
            TimeoutError: no reply within ``timeout_s`` seconds (None waits as long as the link lasts). A reply that has
                begun to arrive may still be written to ``into``.
        """
        pending = self.start_request(to, topic, payload, into=into, sealed=sealed)
        try:
            return pending.result(timeout_s)
        except BaseException:
            pending.cancel()
            raise

    def start_request(
        self,
        to: str,
        topic: str,
        payload: Any = None,
        *,
        into: memoryview | None = None,
        sealed: bool = False,
    ) -> PendingReply:
        """Send a request and return without waiting for its reply; while much is to be sent over the link, that waits.

        Args:
            to: name of the cell that serves ``topic``.
            topic: what is asked.
            payload: any object that can be serialized, or :class:`Raw` bytes.
            into: writable bytes that a raw reply of just their length is received into, without a copy. They must
                stay untouched until the reply is there or has failed. A reply of another length, or a sealed one, has
                its own memory.
            sealed: let nobody but that cell read it, nor the reply; see :meth:`seal_with`.
        """
        sealing = self._sealing_for(to) if sealed else None
        link = self._links.route(to)
        if sealing is None:
            pending = self._replies.begin(link, to, None if into is None else into.cast("B"))
        else:
            pending = self._replies.begin(link, to, opener=partial(self._open_reply, *sealing))
        try:
            if sealing is not None:
                sealer, keys = sealing
                payload = sealer.seal(Kind.REQUEST, to, topic, pending.number, payload, keys)
            link.send(pack(Kind.REQUEST, to, self.name, topic, pending.number, payload))
        except BaseException:
            pending.cancel()
            raise
        return pending

    def open_stream(
        self, to: str, topic: str, meta: Any = None, *, window_bytes: int = _DEFAULT_WINDOW_BYTES
    ) -> StreamWriter:
        """Begin a stream of bytes to a cell.

        Args:
            to: name of the cell that reads.
            topic: what it reads streams of; if it does not, writing or closing raises :class:`RemoteError`.
            meta: a small object for the reader to have beforehand.
            window_bytes: how many bytes may be under way that were not read; writing waits while there are as many.
        """
        return self._streams.open(self._links.route(to), to, topic, meta, window_bytes)

    def close(self, *, wait: bool = True) -> None:
        """End all listeners and links; what is under way fails with :class:`PeerLostError`.

        Args:
            wait: return when no thread is left; handlers that are running must return for that.
        """
        links = self._links.close()
        for link in links:
            link.close()
        if wait:
            for link in links:
                link.join()
        with self._listeners_lock:
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()
        self._pool.close(wait=wait)

    def __enter__(self) -> Cell:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def _sealing_for(self, to: str) -> tuple[Sealer, Session]:
        """What seals, and the keys for a cell; they open its replies, too, even if they are forgotten until then."""
        if self._sealer is None:
            raise AuthenticationError(f"{self.name} cannot seal messages; call seal_with(credentials) first")
        return self._sealer, self._sealer.session_with(to)

    def _open_reply(self, sealer: Sealer, keys: Session, message: Message) -> Message:
        if message.extra and "seal" in message.extra:
            return sealer.open(message, keys)
        if message.kind == Kind.ERROR:  # the other end could not open the request, so it could not seal this
            sealer.forget(message.sender)
            return message
        raise ProtocolError(f"{message.sender} answered a sealed request with a message that is not")

    def _seals_of_lost(self, peer: str) -> None:
        if self._sealer is not None:
            self._sealer.forget(peer)

    def _start(self, link: Link, *, uplink: bool) -> None:
        inbound = Inbound(
            self.name,
            link,
            is_uplink=uplink,
            handlers=self._handlers,
            replies=self._replies,
            streams=self._streams,
            pool=self._pool,
            forwarder=self._forwarder,
            seals=lambda: self._sealer,
            lost=partial(self._lost_beyond, link),
        )
        if uplink:
            self._links.uplink = link.peer
        link.start(inbound, self._ended)

    def _lost_beyond(self, link: Link, name: str, reason: str) -> None:
        """Settle what is under way with a cell that a link leads to no more; on the link's thread."""
        self._replies.fail(link, reason, lost=name)
        self._streams.fail(link, reason, lost=name)
        self._pool.submit(partial(self._call_back, name, PeerLostError(reason)))

    def _ended(self, link: Link, error: BaseException | None) -> None:
        """Settle what is under way over a link. It sends nothing any more, so nothing more can get under way."""
        self._links.remove(link)
        reason = str(error) if error is not None else "closed"
        self._replies.fail(link, reason)
        self._streams.fail(link, reason)
        self._forwarder.link_ended(link, reason)
        if not self._links.closed:
            self._call_back(link.peer, error)
        self._links.forget(link)

    def _call_back(self, peer: str, error: BaseException | None) -> None:
        for callback in self._lost:
            try:
                callback(peer, error)
            except Exception:
                logger.exception("callback for a lost peer failed peer=%s", peer)


class _Reception:
    """The cell as those see it who make links for it."""

    def __init__(self, cell: Cell, *, uplink: bool = False) -> None:
        self.name = cell.name
        self.reconnect_grace_s = cell.reconnect_grace_s
        self.admits = cell.admits
        self.reserve = cell._links.reserve
        self.release = cell._links.release
        self.admit = partial(cell._links.add, start=partial(cell._start, uplink=uplink), reserved=True)
