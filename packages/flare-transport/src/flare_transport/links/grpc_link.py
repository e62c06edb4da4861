"""Links over gRPC: one bidirectional stream of byte chunks each, over TLS with certificates at both ends.

The connector calls ``/flare.Link/Open``; its metadata holds its name (``flare-cell``) and the version of this protocol
(``flare-version``). The listener answers with its own name in the initial metadata, or with status ALREADY_EXISTS or
UNAUTHENTICATED and a reason. From then on both directions carry frames, cut into chunks of at most 1 MiB at any place.

Who is who stands in the certificates, as certificates.py describes. Host names play no role.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from flare_transport.address import Address, check_name, speaks_for
from flare_transport.authentication import Credentials
from flare_transport.errors import AddressError, AuthenticationError, TransportError, UnreachableError
from flare_transport.links.base import Identity, Reception, Reservation
from flare_transport.links.grpc_stream import CHUNK_BYTES, GrpcLink, Outbox

try:
    import grpc

    from flare_transport import certificates
except ImportError as error:
    raise TransportError("grpc:// needs grpcio and cryptography; pip install 'flare-transport[grpc]'") from error

__all__ = ["GrpcListener", "connect", "listen"]

logger = logging.getLogger(__name__)

VERSION = "1"
KEEPALIVE_MS = 10_000
_SERVICE, _METHOD = "flare.Link", "Open"


def listen(address: Address, reception: Reception, identity: Identity) -> GrpcListener:
    """Listen at a port."""
    return GrpcListener(address, reception, _credentials(address, reception, identity))


def connect(address: Address, reception: Reception, identity: Identity, *, peer: str | None, timeout_s: float) -> str:
    """Make a link to the cell that listens at a port."""
    credentials = _credentials(address, reception, identity)
    if peer is None:
        raise AuthenticationError(
            f"whom does {reception.name} expect at {address}? Pass peer=, or anybody with a certificate could answer"
        )
    channel = _channel(address, credentials, peer)
    outbox = Outbox()
    open_stream = channel.stream_stream(f"/{_SERVICE}/{_METHOD}")
    call = open_stream(outbox, metadata=(("flare-cell", reception.name), ("flare-version", VERSION)))
    call.add_callback(outbox.drop)
    try:
        found = _name_of_listener(call, timeout_s)
        if not speaks_for(peer, found):
            raise AuthenticationError(f"{peer} speaks there in the name of {found!r}")
        link = GrpcLink(found, chunks=call, outbox=outbox, cancel=call.cancel, released=channel.close)
        with Reservation(reception) as reservation:
            reservation.take(found)
            reservation.admit(link)
        return found
    except BaseException as error:
        outbox.drop()
        channel.close()
        if isinstance(error, TransportError):
            raise type(error)(f"{reception.name} got no link to {address}: {error}") from error
        raise


class GrpcListener:
    """Accepts links at a port."""

    def __init__(self, address: Address, reception: Reception, credentials: Credentials) -> None:
        self._reception = reception
        self._executor = _Threads(f"flare-grpc-{reception.name}")
        open_handler = grpc.stream_stream_rpc_method_handler(self._open)
        self._server = grpc.server(
            self._executor,
            handlers=[grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: open_handler})],
            options=_options({"grpc.so_reuseport": 0, "grpc.server_handshake_timeout_ms": 10_000}),
        )
        try:
            port = self._server.add_secure_port(str(address).removeprefix("grpc://"), _server_credentials(credentials))
        except RuntimeError as error:
            raise AddressError(
                f"cannot listen at {address}: port {address.port} is in use or may not be used, or the host is none of "
                "this machine's; choose another, or port 0 for one that is free"
            ) from error
        self.address = Address("grpc", address.target, port)
        self._server.start()

    def close(self) -> None:
        """Let nobody in any more, and end what streams there still are."""
        self._server.stop(None).wait()
        self._executor.shutdown()

    def _open(self, chunks: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer a connector; called by gRPC, on a thread that then sends what the link has to send."""
        try:
            peer = _name_of_connector(context)
            with Reservation(self._reception) as reservation:
                reservation.take(peer)
                context.send_initial_metadata((("flare-cell", self._reception.name),))
                outbox = Outbox()
                link = GrpcLink(peer, chunks=chunks, outbox=outbox, cancel=context.cancel)
                if not context.add_callback(outbox.drop):
                    outbox.drop()  # over already
                reservation.admit(link)
                return outbox
        except TransportError as error:
            code = "ALREADY_EXISTS" if isinstance(error, UnreachableError) else "UNAUTHENTICATED"
            reason = str(error)
        logger.warning("connection refused address=%s reason=%s", self.address, reason)
        context.abort(grpc.StatusCode[code], reason)
        raise AssertionError("abort raises")


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


def _credentials(address: Address, reception: Reception, identity: Identity) -> Credentials:
    if identity.credentials is None:
        raise AuthenticationError(f"{address} needs certificates; pass credentials=")
    certificates.check_credentials(identity.credentials, reception.name)
    return identity.credentials


def _options(more: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(
        {
            # A peer that is silent is asked for a sign of life, whether or not anything is under way.
            "grpc.keepalive_time_ms": KEEPALIVE_MS,
            "grpc.keepalive_timeout_ms": KEEPALIVE_MS,
            "grpc.keepalive_permit_without_calls": 1,
            "grpc.http2.max_pings_without_data": 0,
            "grpc.http2.min_ping_interval_without_data_ms": KEEPALIVE_MS // 2,
            "grpc.max_receive_message_length": CHUNK_BYTES,
            **more,
        }.items()
    )


def _server_credentials(credentials: Credentials) -> Any:
    pair = (credentials.private_key, credentials.certificate)
    return grpc.ssl_server_credentials([pair], credentials.authority, require_client_auth=True)


def _channel(address: Address, credentials: Credentials, peer: str) -> Any:
    options = {
        "grpc.ssl_target_name_override": certificates.identity_host(peer),
        "grpc.use_local_subchannel_pool": 1,  # a connection of its own, so that closing one link ends no other
        "grpc.enable_retries": 0,
        "grpc.enable_http_proxy": 0,
    }
    tls = grpc.ssl_channel_credentials(credentials.authority, credentials.private_key, credentials.certificate)
    return grpc.secure_channel(str(address).removeprefix("grpc://"), tls, options=_options(options))


def _name_of_connector(context: Any) -> str:
    """Return the name that a connector claims and that its certificate allows."""
    metadata = dict(context.invocation_metadata())
    if metadata.get("flare-version") != VERSION:
        raise AuthenticationError(f"version {VERSION} is spoken here, not {metadata.get('flare-version')!r}")
    proved = context.auth_context()
    uris = [uri.decode("utf-8", "replace") for uri in proved.get("peer_uri", ())]
    names = [name.decode("utf-8", "replace") for name in proved.get("x509_common_name", ())]
    owner = certificates.cell_name(uris, names)
    claimed = metadata.get("flare-cell", "")
    if not speaks_for(owner, claimed):
        raise AuthenticationError(f"the certificate belongs to {owner}, which may not speak for {claimed!r}")
    try:
        return check_name(claimed)
    except AddressError as error:
        raise AuthenticationError(str(error)) from error


def _name_of_listener(call: Any, timeout_s: float) -> str:
    """Wait for the listener's answer; return the name that it claims."""
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
    if "flare-cell" not in metadata:
        raise _refusal(call.code(), call.details() or "")
    return str(metadata["flare-cell"])


def _refusal(code: Any, details: str) -> TransportError:
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
