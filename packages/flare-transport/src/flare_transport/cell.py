"""Cells: named endpoints that exchange messages, requests and byte streams over their links."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
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
from flare_transport.links.base import Admits, Identity, Link, LinkOwner, Listener, scheme
from flare_transport.replies import PendingReplies, PendingReply
from flare_transport.stream_writer import StreamWriter
from flare_transport.streams import StreamHandler, Streams
from flare_transport.workers import HandlerPool

if TYPE_CHECKING:
    from flare_transport.sealing import Sealer, Session

logger = logging.getLogger(__name__)

_DEFAULT_WINDOW_BYTES = 1 << 24


class Cell:
    """A named endpoint of messages, requests and byte streams.

    Names are hierarchical: ``server``, ``site-1``, ``site-1.job-7``. Handlers run on a pool of threads, which start on
    demand. Requests are handled concurrently, in no order; messages of one topic from one cell one at a time, in the
    order in which they were sent. A handler registered ``inline`` gets messages on the thread that reads the link, so
    messages of several such topics keep their order, too; it must neither block nor send. Requests never run inline,
    as a reply may have to wait until the peer reads.

    As a context manager, a cell is closed at the end of the block.

    Args:
        name: this cell's own name.
        threads: number of handlers that run concurrently, not counting those that wait for another cell.
        reconnect_grace_s: time that a ``grpc`` link may be without a connection before it ends, in seconds. If it is
            reconnected in time, nothing is lost or repeated, and no callback is called.
        forwards: policy that decides whether two cells, given by name, may communicate through this one if neither is
            below it; None forbids it.
        admits: maps the authenticated name of a ``grpc`` peer and its certificate (PEM) to a reason to refuse the link,
            or None to admit it. Called on the thread that serves all ``grpc`` links, so it must not block.
    Raises:
        AddressError: the name is invalid.
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
        self._lost: list[tuple[Callable[[str, BaseException | None], None], bool]] = []

    def handle(self, topic: str, handler: Handler, *, inline: bool = False) -> None:
        """Serve ``topic``: the handler's return value is the reply to a request, its exception reaches the requester.

        Args:
            topic: of the messages and requests.
            handler: called for each of them on the thread pool.
            inline: call it for messages on the thread that reads the link instead; see :class:`Cell`.
        """
        self._handlers[topic] = (handler, inline)

    def handle_stream(self, topic: str, handler: StreamHandler) -> None:
        """Serve byte streams of ``topic``; an exception of ``handler`` reaches the writer."""
        self._streams.handle(topic, handler)

    def on_peer_lost(self, callback: Callable[[str, BaseException | None], None], *, inline: bool = False) -> None:
        """Register a callback for lost peers; it gets the peer's name and the error that ended the link.

        It is also called for a cell beyond a forwarding peer that is lost or was never reachable, but not for links
        that end because this cell is closed. The name of a peer stays taken until all callbacks have returned.

        Args:
            callback: called with the name and the error.
            inline: call it for cells beyond a peer on the thread that reads the link, before anything that arrives
                later, instead of on the thread pool; it must not block. So the loss of a cell cannot be mistaken for
                that of its successor, which connects under the same name or below it.
        """
        self._lost.append((callback, inline))

    def listen(self, address: str, *, secret: bytes | None = None, credentials: Credentials | None = None) -> str:
        """Accept connections; return the address for peers, with the actual port if port 0 was requested.

        Args:
            address: ``unix:///path`` or ``grpc://host:port``; a cell may listen at several.
            secret: for ``unix``, and for ``grpc`` on a loopback address: 16 bytes or more, the same at both ends.
            credentials: for ``grpc``: the certificate must speak for this cell's name.
        Raises:
            AddressError: the address is invalid or in use.
            AuthenticationError: the secret or the credentials are missing or invalid.
            UnreachableError: the cell is closed.
        """
        where = parse_address(address)
        with self._listeners_lock:
            if self._links.closed:
                raise UnreachableError(f"the cell {self.name} is closed")
            listener = scheme(where).listen(where, self._owner(), Identity(secret, credentials))
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
            address: address of that cell.
            secret, credentials: as for :meth:`listen`.
            peer: expected name of that cell, or a name above it; required for ``grpc``, where any holder of a
                certificate could listen.
            uplink: use this link as the default route, to all cells that no other link leads to; frames of any cell may
                arrive over it. A cell has at most one.
            timeout_s: time limit for the peer's answer and authentication, in seconds.
        Raises:
            AddressError: the address is invalid.
            AuthenticationError: one end could not prove its name, or another cell than ``peer`` listens there.
            UnreachableError: no cell listens there, or one end already has a link to a cell of the other's name.
        """
        where = parse_address(address)
        identity = Identity(secret, credentials)
        return scheme(where).connect(where, self._owner(uplink=uplink), identity, peer=peer, timeout_s=timeout_s)

    def attach(self, link: Link, *, uplink: bool = False) -> None:
        """Use a link whose peer is already authenticated, and start to receive from it.

        Args:
            link: to the peer; owned by the cell from now on.
            uplink: as for :meth:`connect`.

        Raises:
            UnreachableError: the cell is closed, or already has a link to that peer; the given link is not closed.
        """
        self._links.add(link, partial(self._start, uplink=uplink), reserved=False)

    def disconnect(self, peer: str) -> None:
        """End the link to a peer, if there is one; pending requests and streams over it fail at both ends."""
        link = self._links.by_peer.get(peer)
        if link is not None:
            link.close()  # the thread of the link then calls _on_end

    @property
    def peers(self) -> tuple[str, ...]:
        """Names of the cells that this one has links to."""
        return tuple(self._links.by_peer)

    @property
    def bytes_sent(self) -> int:
        """Bytes sent over all links so far, headers included."""
        return self._links.ended_bytes[0] + sum(each.bytes_sent for each in self._links.by_peer.copy().values())

    @property
    def bytes_received(self) -> int:
        """Bytes received over all links so far, headers included."""
        return self._links.ended_bytes[1] + sum(each.bytes_received for each in self._links.by_peer.copy().values())

    def seal_with(self, credentials: Credentials) -> None:
        """Enable sealed messages, which only the cells at both ends can read.

        Args:
            credentials: certificate of this cell, and the authorities that it trusts.
        Raises:
            AuthenticationError: the certificate is not valid for this cell's name.
        """
        from flare_transport.sealing import Sealer  # needs cryptography, an optional dependency

        sealer = self._sealer = Sealer(self, credentials)
        self.on_peer_lost(lambda peer, error: sealer.forget(peer), inline=True)

    def send(self, to: str, topic: str, payload: Any = None, *, sealed: bool = False) -> None:
        """Send a message that needs no reply; it arrives after all messages sent to that cell before.

        Args:
            to: name of the cell.
            topic: selects the handler there.
            payload: any serializable object, or :class:`Raw` bytes.
            sealed: encrypt it for that cell; see :meth:`seal_with`.
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
        """Send a request and wait for its reply; arguments as for :meth:`start_request`.

        Raises:
            RemoteError: the handler raised.
            PeerLostError: the link ended first.
            TimeoutError: no reply within ``timeout_s`` seconds; None waits as long as the link lasts. A reply that is
                already arriving may still be written to ``into``.
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
        """Send a request without waiting for its reply; blocks only while the link's outgoing queue is full.

        Args:
            to: name of the cell that serves ``topic``.
            topic: selects the handler there.
            payload: any serializable object, or :class:`Raw` bytes.
            into: writable buffer for a raw reply of exactly its length, which is received without a copy. It must not
                be used until the reply has arrived or failed. A reply of another length, or a sealed one, gets memory
                of its own.
            sealed: encrypt the request and the reply; see :meth:`seal_with`.
        """
        sealing = self._sealing_for(to) if sealed else None
        link = self._links.route(to)
        if sealing is None:
            pending = self._replies.begin(link, to, None if into is None else into.cast("B"))
        else:
            pending = self._replies.begin(link, to, opener=partial(self._open_reply, *sealing))
        try:  # registered before it is sent: the reply may arrive before send returns
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
        """Open a stream of bytes to a cell.

        Args:
            to: name of the cell that reads.
            topic: selects the handler there; if there is none, writing or closing raises :class:`RemoteError`.
            meta: a small object that the reader gets first.
            window_bytes: maximum number of bytes sent but not yet read; writing blocks when it is reached.
        """
        return self._streams.open(self._links.route(to), to, topic, meta, window_bytes)

    def close(self, *, wait: bool = True) -> None:
        """End all listeners and links; pending operations fail with :class:`PeerLostError`.

        Args:
            wait: return only when all threads have ended, which includes running handlers.
        """
        # Links first: a listener that waits for a link to be used must find the cell closed. Joining the links before
        # the pool lets their last callbacks fail the operations that handlers wait for.
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
        """Return the sealer and the session keys for a cell; the reply must be opened with the same keys."""
        if self._sealer is None:
            raise AuthenticationError(f"{self.name} cannot seal messages; call seal_with(credentials) first")
        return self._sealer, self._sealer.session_with(to)

    def _open_reply(self, sealer: Sealer, keys: Session, message: Message) -> Message:
        if message.extra and "seal" in message.extra:
            return sealer.open(message, keys)
        if message.kind == Kind.ERROR:  # the peer could not open the request, so it cannot seal the error
            sealer.forget(message.sender)
            return message
        raise ProtocolError(f"{message.sender} answered a sealed request with an unsealed message")

    def _owner(self, *, uplink: bool = False) -> LinkOwner:
        return LinkOwner(
            self.name,
            self.reconnect_grace_s,
            self.admits,
            reserve=self._links.reserve,
            release=self._links.release,
            admit=partial(self._links.add, start=partial(self._start, uplink=uplink), reserved=True),
        )

    def _start(self, link: Link, *, uplink: bool) -> None:
        inbound = Inbound(
            name=self.name,
            link=link,
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
        link.start(inbound, self._on_end)

    def _lost_beyond(self, link: Link, name: str, reason: str) -> None:
        """Fail pending operations with a cell that a link does not lead to any more; called on the link's thread."""
        self._replies.fail(link, reason, lost=name)
        self._streams.fail(link, reason, lost=name)
        error = PeerLostError(reason)
        self._call_back(name, error, [callback for callback, is_inline in self._lost if is_inline])
        # The others may block, and the link still delivers frames.
        self._pool.submit(
            partial(self._call_back, name, error, [callback for callback, is_inline in self._lost if not is_inline])
        )

    def _on_end(self, link: Link, error: BaseException | None) -> None:
        """Fail pending operations over a link. It refuses to send by now, so no new ones can start after this."""
        # No longer routed to first, so that new operations fail at once; forgotten last, so that close() can join it.
        self._links.remove(link)
        reason = str(error) if error is not None else "closed"
        self._replies.fail(link, reason)
        self._streams.fail(link, reason)
        self._forwarder.link_ended(link, reason)
        if not self._links.closed:
            self._call_back(link.peer, error, [callback for callback, _ in self._lost])
        self._links.forget(link)

    def _call_back(
        self,
        peer: str,
        error: BaseException | None,
        callbacks: Sequence[Callable[[str, BaseException | None], None]],
    ) -> None:
        for callback in callbacks:
            try:
                callback(peer, error)
            except Exception:
                logger.exception("callback for a lost peer failed peer=%s", peer)
