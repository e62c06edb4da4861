"""Links over gRPC: two bidirectional streams of byte chunks each, and another one when one of them breaks.

The connector calls ``/flare.Link/Open`` twice, first for the lane of prompt frames, then for the bulk ones. Its
metadata holds its name (``flare-cell``), the version of this protocol (``flare-version``) and the lane
(``flare-lane``: ``prompt`` or ``bulk``). The listener answers in the initial metadata with its own name and the link's
token (``flare-link-bin``), or with status ALREADY_EXISTS or UNAUTHENTICATED and a reason. From then on both directions
carry chunks as outbox.py describes them.

For the second lane, and to go on with a lane over a new stream, the connector also sends the token and how many chunks
of the lane it has taken (``flare-received``); the listener answers with how many it has taken. Who does not know the
token answers NOT_FOUND.

Who is who stands in the certificates, as certificates.py describes. Host names play no role. Between processes of one
machine a secret can take the place of certificates; grpc_proof.py says how.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from flare_transport.address import Address, speaks_for
from flare_transport.errors import AuthenticationError, HandshakeError, NameTakenError, TransportError, UnreachableError
from flare_transport.links.base import Identity, Reception, Reservation

try:
    import grpc
    import grpc.aio

    from flare_transport.links.grpc_lane import LANES, Connection, Lane, LinkUnknownError
    from flare_transport.links.grpc_listener import METHOD, VERSION, GrpcListener, options
    from flare_transport.links.grpc_loop import event_loop
    from flare_transport.links.grpc_proof import Proof, proof_for
    from flare_transport.links.grpc_stream import GrpcLink
except ImportError as error:
    raise TransportError(
        "grpc:// needs grpcio, cryptography and uvloop; pip install 'flare-transport[grpc]'"
    ) from error

__all__ = ["connect", "listen"]

logger = logging.getLogger(__name__)

MAX_CONNECT_S = 10.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 2.0
_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,  # a connection of its own, so that closing one link ends no other
    "grpc.enable_retries": 0,
    "grpc.enable_http_proxy": 0,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 10_000,  # which is also how long an attempt may take, handshakes included
    "grpc.max_reconnect_backoff_ms": 1000,
}


def listen(address: Address, reception: Reception, identity: Identity) -> GrpcListener:
    """Listen at a port."""
    return GrpcListener(address, reception, proof_for(address, reception.name, identity))


def connect(address: Address, reception: Reception, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a port.

    Raises:
        AuthenticationError: nobody said whom to expect there.
        TransportError: there is no link; says why.
    """
    proof = proof_for(address, reception.name, identity)
    if peer is None:
        raise AuthenticationError(
            f"whom does {reception.name} expect at {address}? Pass peer=, or anybody with a certificate could answer"
        )
    connector = _Connector(address, reception, proof, peer)
    try:
        return event_loop().run(connector.connect(timeout_s))
    except TransportError as error:
        raise type(error)(f"no connection to {address}: {error}") from error


class _Connector:
    """Makes the connections of one link."""

    def __init__(self, address: Address, reception: Reception, proof: Proof, peer: str) -> None:
        self._address, self._reception, self._proof, self._peer = address, reception, proof, peer
        self._grace_s = reception.reconnect_grace_s
        self._found = ""
        self._token = b""
        self._channel: Any = None

    async def connect(self, timeout_s: float) -> str:
        """Make a link and admit it; return the name of the peer."""
        self._channel = self._proof.channel(self._address, self._peer, options(_OPTIONS))
        try:
            first = await self._dial(LANES[0], 0, timeout_s)
            link = GrpcLink(self._found, event_loop(), reconnect=self._reconnect, grace_s=self._grace_s)
            link.released = self._close
            link.lanes[LANES[0]].prepare(first)
            for name in LANES[1:]:
                link.lanes[name].prepare(await self._dial(name, 0, timeout_s))
        except BaseException:
            await self._channel.close()
            raise
        try:
            with Reservation(self._reception) as reservation:
                reservation.take(self._found)
                reservation.admit(link)
        except BaseException:
            await link.decline()
            raise
        return self._found

    async def _reconnect(self, lane: Lane) -> Connection:
        """Make another connection for a lane, as long as the grace lasts.

        Raises:
            UnreachableError: that was not possible.
        """
        until = time.monotonic() + self._grace_s
        pause_s = FIRST_PAUSE_S
        while True:
            left = until - time.monotonic()
            try:
                return await self._dial(lane.name, lane.outbox.received, min(MAX_CONNECT_S, max(left, FIRST_PAUSE_S)))
            except LinkUnknownError:
                raise
            except TransportError as error:
                logger.debug("cannot reconnect yet peer=%s reason=%s", self._found, error)
                if left <= pause_s:
                    raise UnreachableError(f"it was given {self._grace_s:g} s; last: {error}") from error
            try:
                await asyncio.wait_for(lane.closing.wait(), pause_s)
            except TimeoutError:
                pause_s = min(2 * pause_s, LAST_PAUSE_S)
            else:
                raise UnreachableError("closed")

    async def _dial(self, lane: str, received: int, timeout_s: float) -> Connection:
        """Make a connection.

        Raises:
            AuthenticationError: one end could not prove its name.
            UnreachableError: nobody answered, or the link is refused.
        """
        greeting = self._proof.greeting(self._reception.name)
        metadata: list[tuple[str, Any]] = [
            ("flare-cell", self._reception.name),
            ("flare-version", VERSION),
            ("flare-lane", lane),
        ]
        metadata += greeting.metadata
        if self._token:
            metadata += [("flare-link-bin", self._token), ("flare-received", str(received))]
        call = self._channel.stream_stream(METHOD)(metadata=tuple(metadata))
        try:
            answer = await _answer(call, timeout_s)
            found = str(answer["flare-cell"])
            if not speaks_for(self._peer, found) or found != (self._found or found):
                raise AuthenticationError(f"{self._peer} speaks there in the name of {found!r}")
            first = greeting.answer(answer, found)
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
        connection.greeted.set()
        return connection

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        self._closing = asyncio.ensure_future(channel.close())


async def _answer(call: Any, timeout_s: float) -> dict[str, Any]:
    """Wait for the listener's answer."""
    try:
        async with asyncio.timeout(timeout_s):
            metadata = dict(tuple(await call.initial_metadata() or ()))  # dict() alone fails before gRPC 1.78
            if "flare-cell" not in metadata or "flare-link-bin" not in metadata:
                raise _refusal(await call.code(), await call.details() or "")
            return metadata
    except TimeoutError:
        raise UnreachableError(f"nobody answered within {timeout_s:g} s") from None
    except grpc.RpcError as error:
        raise _refusal(await call.code(), await call.details() or str(error)) from error


def _refusal(code: Any, details: str) -> TransportError:
    if code is grpc.StatusCode.NOT_FOUND:
        return LinkUnknownError(details)
    if code is grpc.StatusCode.ALREADY_EXISTS:
        return NameTakenError(f"refused: {details}")
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return AuthenticationError(f"refused: {details}")
    if "Hostname Verification" in details or "not in peer certificate" in details:  # gRPC 1.70 says it so
        return AuthenticationError(f"who listens there has no certificate of the expected cell ({details})")
    if "handshake failed" in details or "Socket closed" in details or "Connection reset" in details:
        return HandshakeError(
            "the other end hung up before the connection was made: the certificates do not fit (both must come from an"
            f" authority that the other end trusts), or a proxy answers there whose server is down ({details})"
        )
    reason = details.rpartition("Failed to connect to remote host: ")[2]  # before it, gRPC says the same three times
    return UnreachableError(f"nobody answered ({reason or code.name})")
