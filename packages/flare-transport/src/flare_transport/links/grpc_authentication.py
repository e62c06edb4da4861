"""Mutual authentication of gRPC streams: by certificates, or by a shared secret between processes of one machine.

With certificates, both ends use TLS, and nothing else is exchanged. With a secret, the stream is not encrypted, so it
must not leave the machine. The connector's metadata contains a nonce (``flare-nonce-bin``), the listener's initial
metadata its own nonce and a proof (``flare-proof-bin``), and the first message of the stream is the connector's proof;
authentication.py defines the proofs.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias

import grpc
import grpc.aio

from flare_transport import certificates
from flare_transport.address import Address, check_name, speaks_for
from flare_transport.authentication import NONCE_BYTES, Credentials, check_secret, proof_of
from flare_transport.errors import AddressError, AuthenticationError
from flare_transport.links.base import Identity

Metadata: TypeAlias = Mapping[str, Any]
Pairs: TypeAlias = tuple[tuple[str, Any], ...]
Options: TypeAlias = list[tuple[str, Any]]
Read: TypeAlias = Callable[[], Awaitable[Any]]


class ConnectorHandshake:
    """The connector's part of one handshake.

    Attributes:
        metadata: what the connector sends with its call.
    """

    metadata: Pairs = ()

    def finish(self, metadata: Metadata, found: str) -> bytes | None:
        """Check the listener's initial metadata; return the first message to send, if one is required.

        Raises:
            AuthenticationError: the listener did not prove that its name is ``found``.
        """
        return None


def authenticator_for(address: Address, name: str, identity: Identity) -> Authenticator:
    """Return the method of authentication for an identity at an address.

    Raises:
        AuthenticationError: the identity has no certificate, and its secret is missing or may not be used there.
    """
    if identity.credentials is not None:
        certificates.check_credentials(identity.credentials, name)
        return _CertificateAuthenticator(identity.credentials)
    if identity.secret is None:
        raise AuthenticationError(f"{address} needs certificates; pass credentials=")
    if not _is_loopback(address.target):
        raise AuthenticationError(
            f"{address}: links with a secret are not encrypted and are limited to 127.0.0.1 and ::1; pass credentials="
        )
    return _SecretAuthenticator(check_secret(identity.secret, address))


class _CertificateAuthenticator:
    """Mutual authentication by certificates, which TLS verifies."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def channel(self, address: Address, peer: str, options: Options) -> Any:
        """Return a gRPC channel to ``peer``."""
        own = self._credentials
        tls = grpc.ssl_channel_credentials(own.authority, own.private_key, own.certificate)
        # TLS libraries compare host names only, so the peer's name is checked in the form of one.
        name = ("grpc.ssl_target_name_override", certificates.identity_host(peer))
        return grpc.aio.secure_channel(_target(address), tls, options=[*options, name])

    def add_port(self, server: Any, address: Address) -> int:
        """Make a gRPC server listen at an address; return the port."""
        own = self._credentials
        pair = (own.private_key, own.certificate)
        tls = grpc.ssl_server_credentials([pair], own.authority, require_client_auth=True)
        return int(server.add_secure_port(_target(address), tls))

    def begin(self, name: str) -> ConnectorHandshake:
        """Start a handshake as the connector ``name``."""
        return ConnectorHandshake()

    def name_of_connector(self, metadata: Metadata, context: Any) -> str:
        """Return the name that a connector claims.

        Raises:
            AuthenticationError: it has not proved that name, or cannot.
        """
        authenticated = context.auth_context()
        uris = [uri.decode("utf-8", "replace") for uri in authenticated.get("peer_uri", ())]
        owner = certificates.cell_name(uris)
        claimed = _claimed(metadata)
        if not speaks_for(owner, claimed):
            raise AuthenticationError(f"the certificate belongs to {owner}, which may not speak for {claimed!r}")
        return claimed

    def answer(self, name: str, peer: str, metadata: Metadata) -> Pairs:
        """Return the entries that the listener ``name`` adds to its initial metadata."""
        return ()

    async def check_connector(self, name: str, peer: str, metadata: Metadata, answer: Pairs, read: Read) -> None:
        """Do nothing: TLS has verified the certificate already."""


class _SecretAuthenticator:
    """Mutual authentication by a shared secret; the methods are those of :class:`_CertificateAuthenticator`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def channel(self, address: Address, peer: str, options: Options) -> Any:
        return grpc.aio.insecure_channel(_target(address), options=options)

    def add_port(self, server: Any, address: Address) -> int:
        return int(server.add_insecure_port(_target(address)))

    def begin(self, name: str) -> ConnectorHandshake:
        return _SecretHandshake(self._secret, name)

    def name_of_connector(self, metadata: Metadata, context: Any) -> str:
        if len(_nonce(metadata)) != NONCE_BYTES:
            raise AuthenticationError("the connector sent no nonce; it must know the secret of this address")
        return _claimed(metadata)

    def answer(self, name: str, peer: str, metadata: Metadata) -> Pairs:
        nonce = secrets.token_bytes(NONCE_BYTES)
        proof = proof_of(self._secret, b"listener", peer, _nonce(metadata), name, nonce)
        return (("flare-nonce-bin", nonce), ("flare-proof-bin", proof))

    async def check_connector(self, name: str, peer: str, metadata: Metadata, answer: Pairs, read: Read) -> None:
        """Read and check the first message of the connector's stream.

        Args:
            name: of the listener.
            peer: name that the connector claims.
            metadata: of the connector.
            answer: result of :meth:`answer`.
            read: reads a message of the stream.
        Raises:
            AuthenticationError: it does not prove the name.
        """
        nonce = dict(answer)["flare-nonce-bin"]
        chunk = await read()
        proof = b"" if chunk is grpc.aio.EOF else chunk
        if not hmac.compare_digest(proof, proof_of(self._secret, b"connector", peer, _nonce(metadata), name, nonce)):
            raise AuthenticationError(f"the connector, which claims to be {peer}, does not know this cell's secret")


class _SecretHandshake(ConnectorHandshake):
    def __init__(self, secret: bytes, name: str) -> None:
        self._secret, self._name = secret, name
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self.metadata = (("flare-nonce-bin", self._nonce),)

    def finish(self, metadata: Metadata, found: str) -> bytes | None:
        session = (self._name, self._nonce, found, _nonce(metadata))
        proof = metadata.get("flare-proof-bin", b"")
        if not hmac.compare_digest(proof, proof_of(self._secret, b"listener", *session)):
            raise AuthenticationError(f"the listener, which claims to be {found}, does not know this cell's secret")
        return proof_of(self._secret, b"connector", *session)


Authenticator: TypeAlias = _CertificateAuthenticator | _SecretAuthenticator


def _target(address: Address) -> str:
    return str(address).removeprefix("grpc://")


def _nonce(metadata: Metadata) -> bytes:
    return bytes(metadata.get("flare-nonce-bin", b""))


def _claimed(metadata: Metadata) -> str:
    try:
        return check_name(metadata.get("flare-cell", ""))
    except AddressError as error:
        raise AuthenticationError(str(error)) from error


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
