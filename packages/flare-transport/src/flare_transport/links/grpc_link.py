"""Links over gRPC: two bidirectional streams of byte chunks each, which are replaced when they break.

The connector calls ``/flare.Link/Open`` twice, first for the lane of prompt frames, then for the bulk ones. Its
metadata contains its name (``flare-cell``), the version of this protocol (``flare-version``) and the lane
(``flare-lane``: ``prompt`` or ``bulk``). The listener answers in the initial metadata with its own name and the link's
token (``flare-link-bin``), or with status ALREADY_EXISTS or UNAUTHENTICATED and a reason. From then on both directions
carry chunks; outbox.py describes them.

For the second lane, and to continue a lane over a new stream, the connector also sends the token and how many chunks of
the lane it has received (``flare-received``); the listener answers with the number that it has received, or with status
NOT_FOUND if it does not know the token.

Cells are identified by their certificates, as certificates.py describes; host names play no role. Between processes of
one machine a shared secret can replace certificates; see grpc_authentication.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from flare_transport.address import Address, speaks_for
from flare_transport.errors import AuthenticationError, HandshakeError, NameTakenError, TransportError, UnreachableError
from flare_transport.links.base import Identity, LinkOwner, Reservation

try:
    import grpc
    import grpc.aio

    from flare_transport.links.grpc_authentication import Authenticator, authenticator_for
    from flare_transport.links.grpc_lane import LANES, Connection, Lane, LinkUnknownError
    from flare_transport.links.grpc_listener import METHOD, VERSION, GrpcListener, options
    from flare_transport.links.grpc_loop import event_loop
    from flare_transport.links.grpc_stream import GrpcLink
except ImportError as error:
    raise TransportError(
        "grpc:// needs grpcio, cryptography and uvloop; pip install 'flare-transport[grpc]'"
    ) from error

logger = logging.getLogger(__name__)

MAX_CONNECT_S = 10.0
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # one connection per link, so that closing one link does not end another
    "grpc.enable_retries": 0,  # gRPC must not repeat a call: chunks are counted
    "grpc.enable_http_proxy": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 10_000,  # also limits the duration of an attempt, handshakes included
    "grpc.max_reconnect_backoff_ms": 1000,
}


def listen(address: Address, owner: LinkOwner, identity: Identity) -> GrpcListener:
    """Listen at a port."""
    return GrpcListener(address, owner, authenticator_for(address, owner.name, identity))


def connect(address: Address, owner: LinkOwner, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a port.

    Raises:
        AuthenticationError: ``peer`` is None.
        TransportError: the link could not be made, with the reason.
    """
    authenticator = authenticator_for(address, owner.name, identity)
    if peer is None:
        raise AuthenticationError(
            f"{owner.name} needs the name of the cell at {address}, as any certificate holder could answer. Pass peer="
        )
    connector = _Connector(address, owner, authenticator, peer)
    try:
        return event_loop().run(connector.connect(timeout_s))
    except TransportError as error:
        raise type(error)(f"cannot connect to {address}: {error}") from error


class _Connector:
    """Makes the connections of one link, and replaces them."""

    def __init__(self, address: Address, owner: LinkOwner, authenticator: Authenticator, peer: str) -> None:
        self._address, self._owner, self._authenticator, self._peer = address, owner, authenticator, peer
        self._grace_s = owner.reconnect_grace_s
        self._found = ""
        self._token = b""
        self._channel: Any = None

    async def connect(self, timeout_s: float) -> str:
        """Make a link and admit it; return the name of the peer."""
        self._channel = self._authenticator.channel(self._address, self._peer, options(_OPTIONS))
        try:
            first = await self._dial(LANES[0], 0, timeout_s)
            link = GrpcLink(self._found, event_loop(), reconnect=self._reconnect, grace_s=self._grace_s)
            link.on_release = self._close
            link.lanes[LANES[0]].prepare(first)
            for name in LANES[1:]:
                link.lanes[name].prepare(await self._dial(name, 0, timeout_s))
        except BaseException:
            await self._channel.close()
            raise
        try:
            with Reservation(self._owner) as reservation:
                reservation.take(self._found)
                reservation.admit(link)
        except BaseException:
            await link.decline()
            raise
        return self._found

    async def _reconnect(self, lane: Lane) -> Connection:
        """Make another connection for a lane, with exponential backoff, until the grace period is over.

        Raises:
            UnreachableError: no attempt succeeded, or the listener does not know the link any more.
        """
        until = time.monotonic() + self._grace_s
        backoff_s = FIRST_BACKOFF_S
        while True:
            left = until - time.monotonic()
            try:
                return await self._dial(lane.name, lane.outbox.received, min(MAX_CONNECT_S, max(left, FIRST_BACKOFF_S)))
            except LinkUnknownError:  # further attempts would fail, too
                raise
            except TransportError as error:
                logger.debug("cannot reconnect yet peer=%s reason=%s", self._found, error)
                if left <= backoff_s:
                    raise UnreachableError(f"no attempt succeeded within {self._grace_s:g} s; last: {error}") from error
            try:
                await asyncio.wait_for(lane.closing.wait(), backoff_s)
            except TimeoutError:
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
            else:
                raise UnreachableError("closed")

    async def _dial(self, lane: str, received: int, timeout_s: float) -> Connection:
        """Open a stream for a lane and authenticate it.

        Raises:
            AuthenticationError: one end could not prove its name.
            UnreachableError: there was no answer, or the link was refused.
        """
        handshake = self._authenticator.begin(self._owner.name)
        metadata: list[tuple[str, Any]] = [
            ("flare-cell", self._owner.name),
            ("flare-version", VERSION),
            ("flare-lane", lane),
        ]
        metadata += handshake.metadata
        if self._token:
            metadata += [("flare-link-bin", self._token), ("flare-received", str(received))]
        call = self._channel.stream_stream(METHOD)(metadata=tuple(metadata))
        try:
            answer = await _answer(call, timeout_s)
            found = str(answer["flare-cell"])
            # A reconnection must reach the same cell, not just another that the certificate is valid for.
            if not speaks_for(self._peer, found) or found != (self._found or found):
                raise AuthenticationError(f"expected {self._peer} there, which may not speak for {found!r}")
            first = handshake.finish(answer, found)
            if first is not None:
                try:
                    await call.write(first)
                except (grpc.RpcError, asyncio.InvalidStateError) as error:
                    raise UnreachableError(f"the connection broke ({error})") from error
            self._found, self._token = found, answer["flare-link-bin"]
        except BaseException:
            call.cancel()
            raise

        connection = Connection(read=call.read, write=call.write, abort=call.cancel)
        connection.peer_received = int(answer.get("flare-received", "0"))
        connection.authenticated.set()
        return connection

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        self._closing = asyncio.ensure_future(channel.close())


async def _answer(call: Any, timeout_s: float) -> dict[str, Any]:
    """Wait for the listener's initial metadata."""
    try:
        async with asyncio.timeout(timeout_s):
            metadata = dict(tuple(await call.initial_metadata() or ()))  # dict() alone fails before gRPC 1.78
            if "flare-cell" not in metadata or "flare-link-bin" not in metadata:
                raise _refusal(await call.code(), await call.details() or "")
            return metadata
    except TimeoutError:
        raise UnreachableError(f"no answer within {timeout_s:g} s") from None
    except grpc.RpcError as error:
        raise _refusal(await call.code(), await call.details() or str(error)) from error


def _refusal(code: Any, details: str) -> TransportError:
    if code is grpc.StatusCode.NOT_FOUND:
        return LinkUnknownError(details)
    if code is grpc.StatusCode.ALREADY_EXISTS:
        return NameTakenError(f"refused: {details}")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return AuthenticationError(f"refused: {details}")
    if "Hostname Verification" in details or "not in peer certificate" in details:  # the wording of gRPC 1.70
        return AuthenticationError(f"the listener has no certificate of the expected cell ({details})")
    if "handshake failed" in details or "Socket closed" in details or "Connection reset" in details:
        return HandshakeError(
            "the listener closed the connection during the handshake: the certificates do not match (each must come"
            f" from an authority that the other end trusts), or a proxy answers whose server is down ({details})"
        )
    reason = details.rpartition("Failed to connect to remote host: ")[2]  # gRPC repeats itself before that
    return UnreachableError(f"no answer ({reason or code.name})")
