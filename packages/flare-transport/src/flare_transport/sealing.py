"""Sealed messages: end-to-end encryption between two cells, whatever cells forward them.

The cells agree on session keys in two requests by the initiator, signed with the keys of their certificates;
docs/wire.md, section 6, describes what is signed, encrypted and authenticated.

Sources: the key agreement follows SIGMA (Krawczyk 2003) without identity protection; HKDF is RFC 5869, AES-GCM is
RFC 5116.
"""

from __future__ import annotations

import secrets
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgpack

from flare_transport.address import speaks_for
from flare_transport.authentication import Credentials
from flare_transport.errors import AuthenticationError, ProtocolError, TransportError
from flare_transport.frames import Message, Raw, encode

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    from flare_transport import certificates
except ImportError as error:
    raise TransportError("sealed messages need cryptography; pip install 'flare-transport[grpc]'") from error

if TYPE_CHECKING:
    from flare_transport.cell import Cell

_CONTEXT = b"flare seal 1"
_COUNTER = struct.Struct(">Q")
_REMEMBERED = 1 << 12  # window for counters out of order, as prompt frames overtake bulk frames
MAX_SESSIONS = 1024


@dataclass
class Session:
    """Session keys of two cells, as seen by one of them; ``name`` identifies the session at both."""

    name: bytes
    peer: str
    send_key: Any
    receive_key: Any
    expected_signer: Any = None  # key of the initiator, until it has confirmed
    transcript: bytes = b""
    sent: int = 0
    highest: int = -1
    seen: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_counter(self) -> int:
        """Return a number not used before: a nonce must never repeat under the same key."""
        with self.lock:
            self.sent += 1
            return self.sent

    def take(self, counter: int) -> None:
        """Record a counter; refuse one that was used before, or that is too old to tell.

        Raises:
            ProtocolError: the frame is a replay, or may be.
        """
        with self.lock:
            if counter in self.seen or counter <= self.highest - _REMEMBERED:
                raise ProtocolError(f"{self.peer} sent a sealed frame twice")
            self.seen.add(counter)
            if counter > self.highest:
                self.highest = counter
                if len(self.seen) > 2 * _REMEMBERED:
                    self.seen = {each for each in self.seen if each > counter - _REMEMBERED}


class Sealer:
    """Encrypts and decrypts the payloads of one cell.

    Args:
        cell: serves key agreements from now on.
        credentials: certificate and key of the cell.
    Raises:
        AuthenticationError: the certificate is not valid for the cell's name.
    """

    def __init__(self, cell: Cell, credentials: Credentials) -> None:
        certificates.check_credentials(credentials, cell.name)
        self._cell = cell
        self._credentials = credentials
        self._key = serialization.load_pem_private_key(credentials.private_key, None)
        self._lock = threading.Lock()
        self._agreeing: dict[str, threading.Lock] = {}
        self._by_peer: dict[str, Session] = {}  # sessions that this cell has initiated
        self._by_id: dict[bytes, Session] = {}  # sessions that other cells have initiated
        cell.handle("seal.hello", self._on_hello)
        cell.handle("seal.confirm", self._on_confirm)

    def seal(self, kind: int, to: str, topic: str, id_: int, payload: Any, keys: Session) -> Raw:
        """Return the encrypted form of a payload.

        Args:
            keys: from :meth:`session_with`, or those of the request that is answered.
        """
        counter = _COUNTER.pack(keys.next_counter())
        about = _about(kind, to, self._cell.name, topic, id_)
        sealed = keys.send_key.encrypt(b"\0\0\0\0" + counter, _plain(payload), about)
        return Raw(counter + sealed, {"seal": keys.name})

    def open(self, message: Message, keys: Session) -> Message:
        """Return a message with its payload decrypted.

        Args:
            keys: those of the request that it answers, or from :meth:`keys_of`.
        Raises:
            ProtocolError: it was not sealed by its sender, was modified in transit, or is a replay.
        """
        if (message.extra or {}).get("seal") != keys.name or message.sender != keys.peer:
            raise ProtocolError(f"{message.sender} answered with keys other than those of the request")
        body = memoryview(message.body)
        about = _about(message.kind, message.to, message.sender, message.topic, message.id)
        try:
            plain = keys.receive_key.decrypt(b"\0\0\0\0" + bytes(body[:8]), bytes(body[8:]), about)
        except InvalidTag as error:
            raise ProtocolError(f"{message.sender} sent a sealed frame that was changed on its way") from error
        keys.take(_COUNTER.unpack(body[:8])[0])
        return _opened(message, plain)

    def forget(self, peer: str) -> None:
        """Drop the keys of a cell that is lost: it may return as a new process, which does not know them."""
        with self._lock:
            self._by_peer = {name: each for name, each in self._by_peer.items() if not speaks_for(peer, name)}
            self._by_id = {key: each for key, each in self._by_id.items() if not speaks_for(peer, each.peer)}

    def session_with(self, peer: str) -> Session:
        """Return the keys for messages and requests to a cell, agreeing on new ones if necessary."""
        with self._lock:
            found = self._by_peer.get(peer)
            if found is not None:
                return found
            # One agreement per peer at a time; the main lock is not held, as an agreement waits for the peer.
            agreeing = self._agreeing.setdefault(peer, threading.Lock())
        with agreeing:
            with self._lock:
                found = self._by_peer.get(peer)
            return found if found is not None else self._agree(peer)

    def _agree(self, peer: str) -> Session:
        private = ec.generate_private_key(ec.SECP256R1())
        ours = _point(private)
        answer = self._cell.request(peer, "seal.hello", [self._credentials.certificate, ours], timeout_s=30).payload
        match answer:
            case [bytes(chain), bytes(theirs), bytes(signature), bytes(session)]:
                pass
            case _:
                raise ProtocolError(f"{peer} sent an invalid answer to a hello")
        signer = certificates.verified_key(chain, self._credentials.authority, peer)
        transcript = _transcript(self._cell.name, peer, ours, theirs)
        _verify(signer, signature, b"answer" + transcript, peer)
        self._cell.request(peer, "seal.confirm", [session, self._signed(b"hello" + transcript)], timeout_s=30)
        first, second = _keys(private, theirs, transcript)
        made = Session(session, peer, send_key=first, receive_key=second)
        with self._lock:
            self._by_peer[peer] = made
        return made

    def _on_hello(self, message: Message) -> list[bytes]:
        match message.payload:
            case [bytes(chain), bytes(theirs)]:
                pass
            case _:
                raise ProtocolError("a hello must contain certificates and a key")
        peer = message.sender
        signer = certificates.verified_key(chain, self._credentials.authority, peer)
        private = ec.generate_private_key(ec.SECP256R1())
        ours = _point(private)
        transcript = _transcript(peer, self._cell.name, theirs, ours)
        first, second = _keys(private, theirs, transcript)
        session = secrets.token_bytes(16)
        with self._lock:
            for old in [key for key, each in self._by_id.items() if each.peer == peer and each.expected_signer]:
                del self._by_id[old]  # an earlier hello that was never confirmed
            if len(self._by_id) >= MAX_SESSIONS:  # sessions of lost peers are dropped, see forget
                raise TransportError(f"{self._cell.name} has {MAX_SESSIONS} sealed sessions, the maximum")
            self._by_id[session] = Session(session, peer, second, first, expected_signer=signer, transcript=transcript)
        return [self._credentials.certificate, ours, self._signed(b"answer" + transcript), session]

    def _on_confirm(self, message: Message) -> None:
        session, signature = message.payload
        keys = self._by_id.get(session)
        if keys is None or keys.peer != message.sender or keys.expected_signer is None:
            raise ProtocolError("a confirmation without a hello")
        _verify(keys.expected_signer, signature, b"hello" + keys.transcript, message.sender)
        keys.expected_signer = None  # from now on the session may be used

    def keys_of(self, message: Message) -> Session:
        """Return the keys that another cell has sealed a message with.

        Raises:
            ProtocolError: the two cells share no such session.
        """
        keys = self._by_id.get((message.extra or {}).get("seal", b""))
        if keys is None or keys.peer != message.sender or keys.expected_signer is not None:
            raise ProtocolError(
                f"{message.sender} and {self._cell.name} share no such keys any more; agree on new ones"
            )
        return keys

    def _signed(self, text: bytes) -> bytes:
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        return self._key.sign(text, ec.ECDSA(hashes.SHA256()))


def _point(private: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PublicFormat.UncompressedPoint
    return private.public_key().public_bytes(serialization.Encoding.X962, form)


def _keys(private: ec.EllipticCurvePrivateKey, theirs: bytes, transcript: bytes) -> tuple[AESGCM, AESGCM]:
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs)
    except ValueError as error:
        raise ProtocolError("a key is not a point on P-256") from error
    material = HKDF(hashes.SHA256(), 64, None, _CONTEXT + transcript).derive(private.exchange(ec.ECDH(), public))
    return AESGCM(material[:32]), AESGCM(material[32:])


def _transcript(first: str, second: str, first_key: bytes, second_key: bytes) -> bytes:
    return _joined(_CONTEXT, first.encode(), second.encode(), first_key, second_key)


def _about(kind: int, to: str, sender: str, topic: str, id_: int) -> bytes:
    return _joined(bytes((kind,)), to.encode(), sender.encode(), topic.encode(), str(id_).encode())


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def _verify(signer: Any, signature: Any, text: bytes, peer: str) -> None:
    try:
        signer.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, TypeError) as error:
        raise AuthenticationError(f"{peer} did not prove its name; the connection may be intercepted") from error


def _plain(payload: Any) -> bytes:
    """Return a payload as bytes: the header fields ``lengths`` and ``extra`` (see frames.py), then the body."""
    if isinstance(payload, Raw):
        return b"".join((msgpack.packb([None, payload.extra]), payload.body))
    body, lengths = encode(payload)
    return b"".join((msgpack.packb([lengths, None]), *body))


def _opened(message: Message, plain: bytes) -> Message:
    unpacker = msgpack.Unpacker()
    unpacker.feed(plain)
    lengths, extra = unpacker.unpack()
    body = bytearray(memoryview(plain)[unpacker.tell() :])  # new memory, so that arrays are aligned
    opened = Message([message.kind, message.to, message.sender, message.topic, message.id, lengths, extra], body)
    opened.was_sealed = True
    return opened
