"""How the ends of a gRPC stream prove who they are: with certificates, or with a secret between processes of a machine.

Certificates: TLS at both ends, and nothing more. Secret: the stream is not encrypted, so it must not leave the machine.
The connector's metadata holds a nonce (``flare-nonce-bin``), the listener's initial metadata its own nonce and a proof
(``flare-proof-bin``), and the first message of the stream is the connector's proof, as authentication.py makes them.
"""

from __future__ import annotations

import hmac
import secrets
from abc import ABC, abstractmethod
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

__all__ = ["Greeting", "Proof", "proof_for"]

Metadata: TypeAlias = Mapping[str, Any]
Pairs: TypeAlias = tuple[tuple[str, Any], ...]
Options: TypeAlias = list[tuple[str, Any]]
Read: TypeAlias = Callable[[], Awaitable[Any]]


class Greeting:
    """The connector's side of one attempt."""

    metadata: Pairs = ()

    def answer(self, metadata: Metadata, found: str) -> bytes | None:
        """Check the listener's answer; return what the stream has to begin with."""
        return None


class Proof(ABC):
    """One way to prove names."""

    @abstractmethod
    def channel(self, address: Address, peer: str, options: Options) -> Any:
        """Return a gRPC channel to ``peer``."""

    @abstractmethod
    def add_port(self, server: Any, address: Address) -> int:
        """Have a gRPC server listen; return the port."""

    def greeting(self, name: str) -> Greeting:
        """Begin as the connector ``name``."""
        return Greeting()

    @abstractmethod
    def name_of_connector(self, metadata: Metadata, context: Any) -> str:
        """Return the name that a connector claims, and that it may claim.

        Raises:
            AuthenticationError: it may not.
        """

    def answer_for(self, name: str, peer: str, metadata: Metadata) -> Pairs:
        """Return what the listener ``name`` adds to its initial metadata."""
        return ()

    @abstractmethod
    async def check_answer(self, name: str, peer: str, metadata: Metadata, answer: Pairs, read: Read) -> None:
        """Check what the connector's stream begins with.

        Raises:
            AuthenticationError: it does not prove the name.
        """


def proof_for(address: Address, name: str, identity: Identity) -> Proof:
    """Return the way to prove names that an identity allows at an address.

    Raises:
        AuthenticationError: it allows none there.
    """
    if identity.credentials is not None:
        certificates.check_credentials(identity.credentials, name)
        return _CertificateProof(identity.credentials)
    if identity.secret is None:
        raise AuthenticationError(f"{address} needs certificates; pass credentials=")
    if not _is_loopback(address.target):
        raise AuthenticationError(
            f"{address}: with a secret nothing is encrypted, so that is for 127.0.0.1 and ::1 only; pass credentials="
        )
    return _SecretProof(check_secret(identity.secret, address))


class _CertificateProof(Proof):
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def channel(self, address: Address, peer: str, options: Options) -> Any:
        own = self._credentials
        tls = grpc.ssl_channel_credentials(own.authority, own.private_key, own.certificate)
        name = ("grpc.ssl_target_name_override", certificates.identity_host(peer))
        return grpc.aio.secure_channel(_target(address), tls, options=[*options, name])

    def add_port(self, server: Any, address: Address) -> int:
        own = self._credentials
        pair = (own.private_key, own.certificate)
        tls = grpc.ssl_server_credentials([pair], own.authority, require_client_auth=True)
        return int(server.add_secure_port(_target(address), tls))

    def name_of_connector(self, metadata: Metadata, context: Any) -> str:
        proved = context.auth_context()
        uris = [uri.decode("utf-8", "replace") for uri in proved.get("peer_uri", ())]
        names = [name.decode("utf-8", "replace") for name in proved.get("x509_common_name", ())]
        owner = certificates.cell_name(uris, names)
        claimed = _claimed(metadata)
        if not speaks_for(owner, claimed):
            raise AuthenticationError(f"the certificate belongs to {owner}, which may not speak for {claimed!r}")
        return claimed

    async def check_answer(self, name: str, peer: str, metadata: Metadata, answer: Pairs, read: Read) -> None:
        """The certificate has proved it."""


class _SecretProof(Proof):
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def channel(self, address: Address, peer: str, options: Options) -> Any:
        return grpc.aio.insecure_channel(_target(address), options=options)

    def add_port(self, server: Any, address: Address) -> int:
        return int(server.add_insecure_port(_target(address)))

    def greeting(self, name: str) -> Greeting:
        return _SecretGreeting(self._secret, name)

    def name_of_connector(self, metadata: Metadata, context: Any) -> str:
        if len(_nonce(metadata)) != NONCE_BYTES:
            raise AuthenticationError("the connector sent no nonce; it must know the secret of this address")
        return _claimed(metadata)

    def answer_for(self, name: str, peer: str, metadata: Metadata) -> Pairs:
        nonce = secrets.token_bytes(NONCE_BYTES)
        proof = proof_of(self._secret, b"listener", peer, _nonce(metadata), name, nonce)
        return (("flare-nonce-bin", nonce), ("flare-proof-bin", proof))

    async def check_answer(self, name: str, peer: str, metadata: Metadata, answer: Pairs, read: Read) -> None:
        nonce = dict(answer)["flare-nonce-bin"]
        chunk = await read()
        proof = b"" if chunk is grpc.aio.EOF else chunk
        if not hmac.compare_digest(proof, proof_of(self._secret, b"connector", peer, _nonce(metadata), name, nonce)):
            raise AuthenticationError(f"the connector, which calls itself {peer}, does not know this cell's secret")


class _SecretGreeting(Greeting):
    def __init__(self, secret: bytes, name: str) -> None:
        self._secret, self._name = secret, name
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self.metadata = (("flare-nonce-bin", self._nonce),)

    def answer(self, metadata: Metadata, found: str) -> bytes | None:
        session = (self._name, self._nonce, found, _nonce(metadata))
        proof = metadata.get("flare-proof-bin", b"")
        if not hmac.compare_digest(proof, proof_of(self._secret, b"listener", *session)):
            raise AuthenticationError(f"the listener, which calls itself {found}, does not know this cell's secret")
        return proof_of(self._secret, b"connector", *session)


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
