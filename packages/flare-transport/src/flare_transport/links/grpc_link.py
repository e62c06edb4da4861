"""Links over gRPC: one bidirectional stream of byte chunks each, and another one when that breaks.

The connector calls ``/flare.Link/Open``. Its metadata holds its name (``flare-cell``), the version of this protocol
(``flare-version``) and a nonce. The listener answers in the initial metadata with its own name and the link's token
(``flare-link-bin``), or with status ALREADY_EXISTS or UNAUTHENTICATED and a reason. From then on both directions carry
chunks as outbox.py describes them.

To go on with a link over a new stream, the connector also sends the token and how many chunks it has taken
(``flare-received``); the listener answers with how many it has taken. Who does not know the token answers NOT_FOUND.

Who is who stands in the certificates, as certificates.py describes. Host names play no role. Between processes of one
machine a secret can take the place of certificates; grpc_proof.py says how.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from flare_transport.address import Address, speaks_for
from flare_transport.errors import AddressError, AuthenticationError, TransportError, UnreachableError
from flare_transport.links.base import Identity, Reception, Reservation
from flare_transport.links.grpc_stream import CLOSE_GRACE_S, GrpcLink
from flare_transport.links.outbox import CHUNK_BYTES, Connection, Outbox

try:
    import grpc

    from flare_transport.links.grpc_proof import Proof, proof_for
except ImportError as error:
    raise TransportError("grpc:// needs grpcio and cryptography; pip install 'flare-transport[grpc]'") from error

__all__ = ["GrpcListener", "connect", "listen"]

logger = logging.getLogger(__name__)

VERSION = "2"
KEEPALIVE_MS = 10_000
MAX_CONNECT_S = 10.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 2.0
_SERVICE, _METHOD = "flare.Link", "Open"


def listen(address: Address, reception: Reception, identity: Identity) -> GrpcListener:
    """Listen at a port."""
    return GrpcListener(address, reception, proof_for(address, reception.name, identity))


def connect(address: Address, reception: Reception, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a port."""
    proof = proof_for(address, reception.name, identity)
    if peer is None:
        raise AuthenticationError(
            f"whom does {reception.name} expect at {address}? Pass peer=, or anybody with a certificate could answer"
        )
    connector = _Connector(address, reception.name, proof, peer)
    outbox = Outbox()
    try:
        connection = connector.dial(outbox, timeout_s=timeout_s)
        link = GrpcLink(
            connector.found,
            outbox=outbox,
            connection=connection,
            reconnect=connector.reconnect,
            grace_s=reception.reconnect_grace_s,
            released=connector.close,
        )
        with Reservation(reception) as reservation:
            reservation.take(connector.found)
            reservation.admit(link)
        return connector.found
    except BaseException as error:
        outbox.drop()
        connector.close()
        if isinstance(error, TransportError):
            raise type(error)(f"{reception.name} got no link to {address}: {error}") from error
        raise


class _Connector:
    """Makes the connections of one link.

    Attributes:
        found: name of the cell that listens, once it has proved it.
    """

    def __init__(self, address: Address, name: str, proof: Proof, peer: str) -> None:
        self._address, self._name, self._proof, self._peer = address, name, proof, peer
        self.found = ""
        self._token = b""
        self._channel: Any = None

    def dial(self, outbox: Outbox, *, timeout_s: float, resume: bool = False) -> Connection:
        """Make a connection.

        Raises:
            AuthenticationError: one end could not prove its name.
            UnreachableError: nobody answered, or the link is refused.
        """
        self.close()
        self._channel = self._proof.channel(self._address, self._peer, _options(_CONNECTOR_OPTIONS))
        connection = Connection(outbox)
        greeting = self._proof.greeting(self._name)
        metadata = [("flare-cell", self._name), ("flare-version", VERSION), *greeting.metadata]
        if resume:
            metadata += [("flare-link-bin", self._token), ("flare-received", str(outbox.received))]
        open_stream = self._channel.stream_stream(f"/{_SERVICE}/{_METHOD}")
        call = open_stream(connection, metadata=metadata)
        call.add_callback(connection.leave)
        connection.cancel = call.cancel
        try:
            answer = _answer(call, timeout_s)
            found = str(answer["flare-cell"])
            if not speaks_for(self._peer, found) or (resume and found != self.found):
                raise AuthenticationError(f"{self._peer} speaks there in the name of {found!r}")
            first = greeting.answer(answer, found)
            if first is not None:
                outbox.begin_with(connection, first)
            connection.peer_received = int(answer.get("flare-received", "0"))
            self.found, self._token = found, answer["flare-link-bin"]
        except BaseException:
            connection.leave()
            call.cancel()
            raise
        connection.chunks = call
        connection.greeted.set()
        return connection

    def reconnect(self, link: GrpcLink, grace_s: float) -> Connection:
        """Make another connection for a link, within so many seconds.

        Raises:
            UnreachableError: that was not possible.
        """
        until = time.monotonic() + grace_s
        pause_s = FIRST_PAUSE_S
        while True:
            left = until - time.monotonic()
            try:
                return self.dial(link.outbox, timeout_s=min(MAX_CONNECT_S, max(left, FIRST_PAUSE_S)), resume=True)
            except _LinkUnknownError:
                raise
            except TransportError as error:
                logger.debug("cannot reconnect yet peer=%s reason=%s", link.peer, error)
                if left <= pause_s:
                    raise UnreachableError(f"it was given {grace_s:g} s; last: {error}") from error
            if link.closing.wait(pause_s):
                raise UnreachableError("closed")
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def close(self) -> None:
        """Give up the channel."""
        if self._channel is not None:
            self._channel.close()


class _LinkUnknownError(UnreachableError):
    """The listener has ended the link, or is another process by now."""


class GrpcListener:
    """Accepts links at a port."""

    def __init__(self, address: Address, reception: Reception, proof: Proof) -> None:
        self._reception = reception
        self._proof = proof
        self._links: dict[bytes, GrpcLink] = {}
        self._executor = _Threads(f"flare-grpc-{reception.name}")
        open_handler = grpc.stream_stream_rpc_method_handler(self._open)
        self._server = grpc.server(
            self._executor,
            handlers=[grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: open_handler})],
            options=_options({"grpc.so_reuseport": 0, "grpc.server_handshake_timeout_ms": 10_000}),
        )
        try:
            port = proof.add_port(self._server, address)
        except RuntimeError as error:
            raise AddressError(
                f"cannot listen at {address}: port {address.port} is in use or may not be used, or the host is none of "
                "this machine's; choose another, or port 0 for one that is free"
            ) from error
        self.address = Address("grpc", address.target, port)
        self._server.start()

    def close(self) -> None:
        """Let nobody in any more, and end what streams there still are."""
        self._server.stop(CLOSE_GRACE_S).wait()
        self._executor.shutdown()

    def _open(self, chunks: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer a connector; called by gRPC, on a thread that then sends what the link has to send."""
        try:
            metadata = dict(context.invocation_metadata())
            if metadata.get("flare-version") != VERSION:
                raise AuthenticationError(f"version {VERSION} is spoken here, not {metadata.get('flare-version')!r}")
            peer = self._proof.name_of_connector(metadata, context)
            if "flare-link-bin" in metadata:
                return self._resume(peer, metadata, chunks, context)
            return self._accept(peer, metadata, chunks, context)
        except _LinkUnknownError as error:
            code, reason = "NOT_FOUND", str(error)
        except TransportError as error:
            code = "ALREADY_EXISTS" if isinstance(error, UnreachableError) else "UNAUTHENTICATED"
            reason = str(error)
        logger.warning("connection refused address=%s reason=%s", self.address, reason)
        context.abort(grpc.StatusCode[code], reason)
        raise AssertionError("abort raises")

    def _accept(self, peer: str, metadata: dict[str, Any], chunks: Iterator[bytes], context: Any) -> Connection:
        """Make a new link. An interrupted one of that name gives way: its process has begun anew."""
        for old in [link for link in self._links.copy().values() if link.peer == peer and link.interrupted]:
            old.abandon()
        with Reservation(self._reception) as reservation:
            reservation.take(peer)
            token = secrets.token_bytes(16)
            self._greet(peer, token, metadata, chunks, context)
            outbox = Outbox()
            connection = _connection(outbox, chunks, context)
            connection.greeted.set()
            link = GrpcLink(
                peer,
                outbox=outbox,
                connection=connection,
                reconnect=None,
                grace_s=self._reception.reconnect_grace_s,
                released=partial(self._forget, token),
            )
            self._links[token] = link
            try:
                reservation.admit(link)
            except BaseException:
                del self._links[token]
                raise
            return connection

    def _forget(self, token: bytes) -> None:
        self._links.pop(token, None)

    def _resume(self, peer: str, metadata: dict[str, Any], chunks: Iterator[bytes], context: Any) -> Connection:
        """Go on with a link over a new connection."""
        token = metadata["flare-link-bin"]
        link = self._links.get(token)
        if link is None or link.peer != peer:
            raise _LinkUnknownError(f"{self._reception.name} has no such link to {peer} any more")
        connection = _connection(link.outbox, chunks, context)
        try:
            connection.peer_received = int(metadata["flare-received"])
        except (KeyError, ValueError) as error:
            raise AuthenticationError("the connector does not say how much it has received") from error
        try:
            received = link.resume(connection)
        except UnreachableError as error:
            raise _LinkUnknownError(str(error)) from error
        try:
            self._greet(peer, token, metadata, chunks, context, ("flare-received", str(received)))
        finally:
            connection.greeted.set()
        return connection

    def _greet(
        self,
        peer: str,
        token: bytes,
        metadata: dict[str, Any],
        chunks: Iterator[bytes],
        context: Any,
        *more: tuple[str, str],
    ) -> None:
        proof = self._proof.answer_for(self._reception.name, peer, metadata)
        context.send_initial_metadata((("flare-cell", self._reception.name), ("flare-link-bin", token), *proof, *more))
        self._proof.check_answer(self._reception.name, peer, metadata, proof, chunks)


def _connection(outbox: Outbox, chunks: Iterator[bytes], context: Any) -> Connection:
    connection = Connection(outbox)
    connection.chunks = chunks
    connection.cancel = context.cancel
    if not context.add_callback(connection.leave):
        connection.leave()  # over already
    return connection


class _Threads(Executor):
    """A thread for each call, as each lasts as long as its link."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
            with self._lock:
                self._threads.discard(thread)

        thread = threading.Thread(target=run, name=self._name, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()


def _options(more: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(
        {
            # A peer that is silent is asked for a sign of life, whether or not anything is under way.
            "grpc.keepalive_time_ms": KEEPALIVE_MS,
            "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
            "grpc.http2.min_ping_interval_without_data_ms": KEEPALIVE_MS // 2,
            "grpc.max_receive_message_length": CHUNK_BYTES + 1,
            **more,
        }.items()
    )


_CONNECTOR_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # a connection of its own, so that closing one link ends no other
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
}


def _answer(call: Any, timeout_s: float) -> dict[str, Any]:
    """Wait for the listener's answer."""
    timed_out = threading.Event()

    def give_up() -> None:
        timed_out.set()
        call.cancel()

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        metadata = dict(call.initial_metadata() or ())
    finally:
        timer.cancel()
        timer.join()
    if timed_out.is_set():
        raise UnreachableError(f"nobody answered within {timeout_s:g} s")
    if "flare-cell" not in metadata or "flare-link-bin" not in metadata:
        raise _refusal(call.code(), call.details() or "")
    return metadata


def _refusal(code: Any, details: str) -> TransportError:
    if code is grpc.StatusCode.NOT_FOUND:
        return _LinkUnknownError(details)
    if code is grpc.StatusCode.ALREADY_EXISTS:
        return UnreachableError(f"refused: {details}")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return AuthenticationError(f"refused: {details}")
    if "Hostname Verification" in details:
        return AuthenticationError(f"who listens there has no certificate of the expected cell ({details})")
    if "handshake failed" in details or "Socket closed" in details or "Connection reset" in details:
        return AuthenticationError(
            f"the certificates do not fit; both must come from an authority that the other end trusts ({details})"
        )
    return UnreachableError(f"nobody answered ({details or code.name})")
