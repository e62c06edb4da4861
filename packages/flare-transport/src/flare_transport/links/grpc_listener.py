"""Listener for gRPC links; grpc_link.py describes the protocol between connector and listener."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

import grpc
import grpc.aio

from flare_transport.address import Address
from flare_transport.errors import AddressError, AuthenticationError, NameTakenError, TransportError, UnreachableError
from flare_transport.links.base import HANDSHAKE_S, LinkOwner, Reservation
from flare_transport.links.grpc_authentication import Authenticator
from flare_transport.links.grpc_lane import Connection, Lane, LinkUnknownError
from flare_transport.links.grpc_loop import event_loop
from flare_transport.links.grpc_stream import CLOSE_GRACE_S, GrpcLink
from flare_transport.links.outbox import MAX_CHUNK_BYTES

logger = logging.getLogger(__name__)

VERSION = "3"
METHOD = "/flare.Link/Open"
KEEPALIVE_MS = 10_000


class GrpcListener:
    """Accepts links at a port."""

    def __init__(self, address: Address, owner: LinkOwner, authenticator: Authenticator) -> None:
        self._owner = owner
        self._authenticator = authenticator
        self._links: dict[bytes, GrpcLink] = {}
        self._loop = event_loop()
        self._server: Any = None
        self.address = Address("grpc", address.target, self._loop.run(self._start(address)))

    def close(self) -> None:
        """Stop accepting streams, and end the remaining ones."""
        if not self._loop.over:
            self._loop.run(self._server.stop(CLOSE_GRACE_S))

    async def _start(self, address: Address) -> int:
        _, service, method = METHOD.split("/")
        handler = grpc.stream_stream_rpc_method_handler(self._open)
        self._server = grpc.aio.server(
            handlers=[grpc.method_handlers_generic_handler(service, {method: handler})],
            options=options({"grpc.so_reuseport": 0, "grpc.server_handshake_timeout_ms": int(1000 * HANDSHAKE_S)}),
        )
        try:
            port = self._authenticator.add_port(self._server, address)
        except RuntimeError as error:
            raise AddressError(
                f"cannot listen at {address}: port {address.port} is in use or not permitted, or the host is not this "
                "machine; choose another, or port 0 for any free port"
            ) from error
        await self._server.start()
        return port

    async def _open(self, _: Any, context: Any) -> None:
        """Serve one stream of a connector; called by gRPC. The stream ends when this returns."""
        connection = _connection(context)
        try:
            await self._handshake_or_refuse(connection, context)
            await connection.finished.wait()
        finally:
            connection.cancel()

    async def _handshake_or_refuse(self, connection: Connection, context: Any) -> None:
        try:
            metadata = dict(context.invocation_metadata())
            if metadata.get("flare-version") != VERSION:
                raise AuthenticationError(
                    f"this listener supports version {VERSION}, not {metadata.get('flare-version')!r}"
                )
            peer = self._authenticator.name_of_connector(metadata, context)
            self._check_admitted(peer, context)
            if "flare-link-bin" in metadata:
                await self._resume(peer, metadata, connection, context)
            else:
                await self._accept(peer, metadata, connection, context)
        except LinkUnknownError as error:
            await self._refuse(context, grpc.StatusCode.NOT_FOUND, error)
        except NameTakenError as error:
            await self._refuse(context, grpc.StatusCode.ALREADY_EXISTS, error)
        except UnreachableError as error:
            await self._refuse(context, grpc.StatusCode.UNAVAILABLE, error)
        except TransportError as error:
            await self._refuse(context, grpc.StatusCode.UNAUTHENTICATED, error)

    def _check_admitted(self, peer: str, context: Any) -> None:
        if self._owner.admits is not None:
            certificate = context.auth_context().get("x509_pem_cert", (None,))[0]
            reason = self._owner.admits(peer, certificate)
            if reason is not None:
                raise AuthenticationError(reason)

    async def _refuse(self, context: Any, code: grpc.StatusCode, error: TransportError) -> None:
        logger.warning("connection refused address=%s reason=%s", self.address, error)
        await context.abort(code, str(error))

    async def _accept(self, peer: str, metadata: dict[str, Any], connection: Connection, context: Any) -> None:
        """Make a new link. It replaces an interrupted link of that name, whose process must have been restarted."""
        for old in [link for link in self._links.values() if link.peer == peer and link.interrupted]:
            await old.abandon()
        link = GrpcLink(peer, self._loop, reconnect=None, grace_s=self._owner.reconnect_grace_s)
        lane = _lane(link, metadata)
        lane.prepare(connection)
        with Reservation(self._owner) as reservation:
            reservation.take(peer)
            token = secrets.token_bytes(16)
            self._links[token] = link  # the connector may open the second lane before the link is admitted
            link.on_release = lambda: self._forget(token)
            try:  # the connector may send as soon as the handshake is over; the lane reads once the link is admitted
                await self._handshake(peer, token, metadata, connection, context)
                reservation.admit(link)
            except BaseException:
                self._forget(token)
                await link.decline()
                raise

    async def _resume(self, peer: str, metadata: dict[str, Any], connection: Connection, context: Any) -> None:
        """Connect the second lane, or continue a lane over a new connection."""
        token = metadata["flare-link-bin"]
        link = self._links.get(token)
        if link is None or link.peer != peer:  # a token alone does not suffice: the name is authenticated
            raise LinkUnknownError(f"{self._owner.name} has no such link to {peer}; it has ended")
        lane = _lane(link, metadata)
        try:
            connection.peer_received = int(metadata["flare-received"])
        except (KeyError, ValueError) as error:
            raise AuthenticationError("the connector did not send a valid flare-received") from error
        try:
            received = await lane.offer(connection)
        except UnreachableError as error:
            raise LinkUnknownError(str(error)) from error
        await self._handshake(peer, token, metadata, connection, context, ("flare-received", str(received)))

    async def _handshake(
        self,
        peer: str,
        token: bytes,
        metadata: dict[str, Any],
        connection: Connection,
        context: Any,
        *more: tuple[str, str],
    ) -> None:
        """Send this end's proof and ``more`` metadata, and wait for the connector's proof."""
        try:
            name = self._owner.name
            proof = self._authenticator.answer(name, peer, metadata)
            await context.send_initial_metadata((("flare-cell", name), ("flare-link-bin", token), *proof, *more))
            async with asyncio.timeout(HANDSHAKE_S):
                await self._authenticator.check_connector(name, peer, metadata, proof, connection.read)
        except TimeoutError:
            raise AuthenticationError(f"{peer} did not prove its name within {HANDSHAKE_S:g} s") from None
        finally:
            connection.authenticated.set()  # the lane reads from the connection only now

    def _forget(self, token: bytes) -> None:
        self._links.pop(token, None)


def options(more: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the gRPC options that both ends use, and ``more``."""
    return list(
        {
            # Silent peers are pinged even if no data is in flight: a link must notice that its peer has vanished.
            "grpc.keepalive_time_ms": KEEPALIVE_MS,
            "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
            # The time limit for answers to pings stays at gRPC's default of one minute: with 20 s, an uplink of
            # 100 kB/s broke repeatedly, as the answer has to wait behind the data that is being sent.
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
            "grpc.http2.min_ping_interval_without_data_ms": KEEPALIVE_MS // 2,
            "grpc.max_receive_message_length": MAX_CHUNK_BYTES + 1,
            **more,
        }.items()
    )


def _lane(link: GrpcLink, metadata: dict[str, Any]) -> Lane:
    name = metadata.get("flare-lane", "")
    if name not in link.lanes:
        raise AuthenticationError(
            f"the connector asked for an unknown lane {name!r}; known are {', '.join(link.lanes)}"
        )
    return link.lanes[name]


def _connection(context: Any) -> Connection:
    return Connection(read=context.read, write=context.write, abort=lambda: None)  # _open returns instead
