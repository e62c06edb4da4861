"""Handshake of two cells over a socket: each proves its name with a shared secret, before the first frame.

Each message is the magic "FLH1", the length of the rest (2 bytes, little-endian) and a msgpack array:

    connector → listener   [version, name, nonce]
    listener → connector   [name, nonce, proof]       or [kind, reason]: refused
    connector → listener   [proof]
    listener → connector   []                         or [kind, reason]: refused

A nonce is 32 random bytes. A proof is the HMAC-SHA256, keyed with the secret, of the prover's role, both names and both
nonces, the connector's first, each preceded by its length. A proof can therefore neither be reflected to its sender nor
replayed later. The ``kind`` of a refusal is ``"name"`` (in use, or invalid) or ``"proof"``.

The frames that follow are neither encrypted nor signed: only the two ends may be able to write to the socket.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from flare_transport.address import MAX_NAME, check_name
from flare_transport.errors import AddressError, AuthenticationError, TransportError, UnreachableError

VERSION = 3  # of the whole protocol, see docs/wire.md
MIN_SECRET_BYTES = 16
MAX_HANDSHAKE_BYTES = 1024
_MAGIC = b"FLH1"
_PREFIX = struct.Struct("<4sH")
NONCE_BYTES = 32


@dataclass(frozen=True, slots=True)
class Credentials:
    """Certificate and key of a cell, and the authorities that it trusts; all in PEM.

    Attributes:
        certificate: of this cell, followed by intermediate certificates, if any; its key is on the curve P-256.
        private_key: of that certificate.
        authority: certificates of the authorities that may issue the certificates of peers.
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    authority: bytes


def check_secret(secret: bytes | None, address: object) -> bytes:
    """Return the secret for an address.

    Raises:
        AuthenticationError: it is missing, or short enough to be guessed.
    """
    if secret is None:
        raise AuthenticationError(f"{address} needs a secret that both ends share; pass secret=")
    if len(secret) < MIN_SECRET_BYTES:
        raise AuthenticationError(
            f"the secret for {address} has {len(secret)} bytes, fewer than {MIN_SECRET_BYTES}; "
            "make one with secrets.token_bytes(32)"
        )
    return secret


def check_peer_user(connection: socket.socket) -> None:
    """Refuse a peer process of another user, on systems that report it; root is accepted, as it can do anything anyway.

    Raises:
        AuthenticationError: the process belongs to another user.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return
    record = struct.Struct("3i")
    _, user, _ = record.unpack(connection.getsockopt(socket.SOL_SOCKET, option, record.size))
    if user not in (os.geteuid(), 0):
        raise AuthenticationError(f"the other end belongs to user {user}, this one to user {os.geteuid()}")


def connector_handshake(
    connection: socket.socket, *, name: str, secret: bytes, timeout_s: float, accept: Callable[[str], None]
) -> str:
    """Authenticate both ends, as the connector; return the name of the listener.

    Args:
        connection: connected to the listener.
        name: of this cell.
        secret: shared by both.
        timeout_s: time limit for the whole handshake, in seconds.
        accept: called with the authenticated name, before this end sends its proof; an exception ends the handshake.
    Raises:
        AuthenticationError: one end could not prove its name.
        UnreachableError: the listener already has a link to a cell of this name.
    """
    channel = _HandshakeSocket(connection, timeout_s)
    nonce = secrets.token_bytes(NONCE_BYTES)
    channel.send([VERSION, name, nonce])
    match channel.receive():
        case [str(peer), bytes(peer_nonce), bytes(proof)] if len(peer_nonce) == NONCE_BYTES:
            pass
        case answer:
            raise _refusal(answer)
    _check_peer_name(peer)
    session = (name, nonce, peer, peer_nonce)
    # The listener proves itself first, so that a false listener never gets a proof of this cell. Comparisons take
    # constant time.
    if not hmac.compare_digest(proof, proof_of(secret, b"listener", *session)):
        raise AuthenticationError(f"the listener, which claims to be {peer}, does not know this cell's secret")
    accept(peer)
    channel.send([proof_of(secret, b"connector", *session)])
    answer = channel.receive()
    if answer:
        raise _refusal(answer)
    return peer


def listener_handshake(
    connection: socket.socket, *, name: str, secret: bytes, timeout_s: float, accept: Callable[[str], None]
) -> str:
    """Authenticate both ends, as the listener; return the name of the connector.

    Args:
        connection: connected to the connector.
        name: of this cell.
        secret: shared by both.
        timeout_s: time limit for the whole handshake, in seconds.
        accept: called with the authenticated name; its UnreachableError is reported to the connector.
    Raises:
        AuthenticationError: one end could not prove its name.
        UnreachableError: raised by ``accept``.
    """
    channel = _HandshakeSocket(connection, timeout_s)
    match channel.receive():
        case [int(version), *_] if version != VERSION:
            channel.send(["proof", f"{name} supports version {VERSION} of the handshake, not {version}"])
            raise AuthenticationError(f"the connector uses version {version} of the handshake, this cell {VERSION}")
        case [int(_), str(peer), bytes(peer_nonce)] if len(peer_nonce) == NONCE_BYTES:
            pass
        case _:
            raise AuthenticationError("the connector does not speak this protocol")
    _check_peer_name(peer)
    nonce = secrets.token_bytes(NONCE_BYTES)
    session = (peer, peer_nonce, name, nonce)
    channel.send([name, nonce, proof_of(secret, b"listener", *session)])
    match channel.receive():
        case [bytes(proof)] if hmac.compare_digest(proof, proof_of(secret, b"connector", *session)):
            pass
        case _:
            channel.send(["proof", f"{name} does not know the secret that {peer} has"])
            raise AuthenticationError(f"the connector, which claims to be {peer}, does not know this cell's secret")
    try:
        accept(peer)
    except UnreachableError as error:
        channel.send(["name", str(error)])
        raise
    channel.send([])
    return peer


class _HandshakeSocket:
    """Messages of a handshake over a socket, with one time limit for all: a slow peer cannot extend it."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def send(self, message: list[Any]) -> None:
        data = msgpack.packb(message)
        self._set_timeout()
        try:
            self._socket.sendall(_PREFIX.pack(_MAGIC, len(data)) + data)
        except OSError as error:
            raise self._failure(error) from error

    def receive(self) -> list[Any]:
        magic, size = _PREFIX.unpack(self._read(_PREFIX.size))
        if magic != _MAGIC or size > MAX_HANDSHAKE_BYTES:
            raise AuthenticationError("the other end does not speak this protocol")
        try:
            message = msgpack.unpackb(self._read(size))
        except ValueError as error:
            raise AuthenticationError("the other end does not speak this protocol") from error
        if not isinstance(message, list):
            raise AuthenticationError("the other end does not speak this protocol")
        return message

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._set_timeout()
            try:
                part = self._socket.recv(size - len(data))
            except OSError as error:
                raise self._failure(error) from error
            if not part:
                raise AuthenticationError(
                    "the other end closed the connection during the handshake; its log or error gives the reason"
                )
            data += part
        return data

    def _set_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._failure(TimeoutError())
        self._socket.settimeout(left)

    def _failure(self, error: OSError) -> AuthenticationError:
        if isinstance(error, TimeoutError):
            return AuthenticationError(f"the other end did not finish the handshake within {self._timeout_s:g} s")
        return AuthenticationError(f"the connection failed during the handshake ({error.strerror or error})")


def proof_of(secret: bytes, role: bytes, connector: str, nonce_1: bytes, listener: str, nonce_2: bytes) -> bytes:
    """Return the proof of one end's name, as described in the module's docstring."""
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for part in (b"flare handshake 1", role, connector.encode(), nonce_1, listener.encode(), nonce_2):
        mac.update(len(part).to_bytes(4, "little") + part)
    return mac.digest()


def _check_peer_name(peer: str) -> None:
    try:
        check_name(peer)
    except AddressError as error:
        raise AuthenticationError(
            f"the other end claims to be {peer[:MAX_NAME]!r}, which is not a valid name of a cell"
        ) from error


def _refusal(answer: list[Any]) -> TransportError:
    match answer:
        case ["name", str(reason)]:
            return UnreachableError(f"refused: {reason}")
        case ["proof", str(reason)]:
            return AuthenticationError(f"refused: {reason}")
        case _:
            return AuthenticationError("the listener does not speak this protocol")
