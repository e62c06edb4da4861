"""How two cells prove to each other who they are over a socket, before the first frame.

Both know a secret. Each message is the magic "FLH1", the length of the rest (2 bytes, little-endian) and a msgpack
array:

    connector → listener   [version, name, nonce]
    listener → connector   [name, nonce, proof]       or [kind, reason]: refused
    connector → listener   [proof]
    listener → connector   []                         or [kind, reason]: refused

A nonce is 32 random bytes. A proof is the HMAC-SHA256, keyed with the secret, of the role of the end that proves,
then both names and both nonces, the connector's first, each with its length before it. So a proof is of use neither in
the other direction nor at another time. A refusal's ``kind`` is ``"name"`` (in use, or none) or ``"proof"``.

What follows is neither encrypted nor signed: the socket must be one that only the two ends can write to.
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

__all__ = [
    "NONCE_BYTES",
    "Credentials",
    "check_peer_user",
    "check_secret",
    "greet_connector",
    "greet_listener",
    "proof_of",
]

VERSION = 1
MIN_SECRET_BYTES = 16
MAX_HANDSHAKE_BYTES = 1024
_MAGIC = b"FLH1"
_PREFIX = struct.Struct("<4sH")
NONCE_BYTES = 32
_PROOF_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a cell proves its name with over gRPC, and checks the peer's with; all in PEM.

    Attributes:
        certificate: of this cell, followed by intermediate ones if there are any; its key is on the curve P-256.
        private_key: of that certificate.
        authority: certificates of those who may vouch for peers.
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    authority: bytes


def check_secret(secret: bytes | None, address: object) -> bytes:
    """Return the secret for an address.

    Raises:
        AuthenticationError: there is none, or it is short enough to be guessed.
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
    """Refuse a peer of another user, where the system tells whose it is; root may do anything anyway.

    Raises:
        AuthenticationError: it is another's.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return
    record = struct.Struct("3i")
    _, user, _ = record.unpack(connection.getsockopt(socket.SOL_SOCKET, option, record.size))
    if user not in (os.geteuid(), 0):
        raise AuthenticationError(f"the other end belongs to user {user}, this one to user {os.geteuid()}")


def greet_listener(
    connection: socket.socket, *, name: str, secret: bytes, timeout_s: float, accept: Callable[[str], None]
) -> str:
    """Prove ``name`` to the listener at the other end and have it prove its own, which is returned.

    Args:
        connection: connected to it.
        name: of this cell.
        secret: shared by both.
        timeout_s: how long this may take.
        accept: called with the proved name; what it raises ends the handshake.
    Raises:
        AuthenticationError: one end could not prove its name.
        UnreachableError: the listener has a link to a cell of this name already.
    """
    wire = _Wire(connection, timeout_s)
    nonce = secrets.token_bytes(NONCE_BYTES)
    wire.send([VERSION, name, nonce])
    match wire.receive():
        case [str(peer), bytes(peer_nonce), bytes(proof)] if len(peer_nonce) == NONCE_BYTES:
            pass
        case answer:
            raise _refusal(answer)
    _check_peer_name(peer)
    session = (name, nonce, peer, peer_nonce)
    if not hmac.compare_digest(proof, proof_of(secret, b"listener", *session)):
        raise AuthenticationError(f"the listener, which calls itself {peer}, does not know this cell's secret")
    accept(peer)
    wire.send([proof_of(secret, b"connector", *session)])
    answer = wire.receive()
    if answer:
        raise _refusal(answer)
    return peer


def greet_connector(
    connection: socket.socket, *, name: str, secret: bytes, timeout_s: float, accept: Callable[[str], None]
) -> str:
    """Have the connector at the other end prove its name, which is returned, and prove ``name`` to it.

    Args:
        connection: connected to it.
        name: of this cell.
        secret: shared by both.
        timeout_s: how long this may take.
        accept: called with the proved name; an UnreachableError that it raises is told to the connector.
    Raises:
        AuthenticationError: one end could not prove its name.
        UnreachableError: raised by ``accept``.
    """
    wire = _Wire(connection, timeout_s)
    match wire.receive():
        case [int(version), *_] if version != VERSION:
            wire.send(["proof", f"{name} speaks version {VERSION} of the handshake, not {version}"])
            raise AuthenticationError(f"the connector speaks version {version} of the handshake, not {VERSION}")
        case [int(_), str(peer), bytes(peer_nonce)] if len(peer_nonce) == NONCE_BYTES:
            pass
        case _:
            raise AuthenticationError("the connector does not speak this protocol")
    _check_peer_name(peer)
    nonce = secrets.token_bytes(NONCE_BYTES)
    session = (peer, peer_nonce, name, nonce)
    wire.send([name, nonce, proof_of(secret, b"listener", *session)])
    match wire.receive():
        case [bytes(proof)] if hmac.compare_digest(proof, proof_of(secret, b"connector", *session)):
            pass
        case _:
            wire.send(["proof", f"{name} does not know the secret that {peer} has"])
            raise AuthenticationError(f"the connector, which calls itself {peer}, does not know this cell's secret")
    try:
        accept(peer)
    except UnreachableError as error:
        wire.send(["name", str(error)])
        raise
    wire.send([])
    return peer


class _Wire:
    """Handshake messages over a socket, all of them within one time limit."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._socket = connection
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s

    def send(self, message: list[Any]) -> None:
        data = msgpack.packb(message)
        self._wait_at_most()
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
            self._wait_at_most()
            try:
                part = self._socket.recv(size - len(data))
            except OSError as error:
                raise self._failure(error) from error
            if not part:
                raise AuthenticationError("the other end left during the handshake; its log or error says why")
            data += part
        return data

    def _wait_at_most(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._failure(TimeoutError())
        self._socket.settimeout(left)

    def _failure(self, error: OSError) -> AuthenticationError:
        if isinstance(error, TimeoutError):
            return AuthenticationError(f"the other end did not finish the handshake within {self._timeout_s:g} s")
        return AuthenticationError(f"the connection failed during the handshake ({error.strerror or error})")


def proof_of(secret: bytes, role: bytes, connector: str, nonce_1: bytes, listener: str, nonce_2: bytes) -> bytes:
    """Return the proof of one end's name, as described above."""
    mac = hmac.new(secret, digestmod=hashlib.sha256)
    for part in (b"flare handshake 1", role, connector.encode(), nonce_1, listener.encode(), nonce_2):
        mac.update(len(part).to_bytes(4, "little") + part)
    return mac.digest()


def _check_peer_name(peer: str) -> None:
    try:
        check_name(peer)
    except AddressError as error:
        raise AuthenticationError(
            f"the other end calls itself {peer[:MAX_NAME]!r}, which is no name of a cell"
        ) from error


def _refusal(answer: list[Any]) -> TransportError:
    match answer:
        case ["name", str(reason)]:
            return UnreachableError(f"refused: {reason}")
        case ["proof", str(reason)]:
            return AuthenticationError(f"refused: {reason}")
        case _:
            return AuthenticationError("the listener does not speak this protocol")
