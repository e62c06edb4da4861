"""A second implementation of docs/wire.md, continued: messages, byte streams and sealing over one link."""

from __future__ import annotations

import itertools
import struct

import msgpack
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from second_wire import (
    ERROR,
    MESSAGE,
    REPLY,
    REQUEST,
    STREAM,
    WAIT_S,
    FailedError,
    Frame,
    LinkEndedError,
    chain,
    decode,
    encode,
    from_file,
    join,
    to_file,
)

CHUNK_BYTES = 1 << 20
LEAST_COST = 256


class SecondCell:
    """An endpoint of messages, requests and streams over one link."""

    def __init__(self, name: str, link) -> None:
        self.name, self.link, self.peer = name, link, link.peer
        self.early: list[Frame] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> SecondCell:
        return self

    def __exit__(self, *_) -> None:
        self.link.close()

    def take(self, *kinds: int, **wanted) -> Frame:
        """Return the next frame with one of these kinds and these values; keep others for later."""

        def fits(frame):
            return frame.kind in kinds and all(getattr(frame, key) == value for key, value in wanted.items())

        for frame in self.early:
            if fits(frame):
                self.early.remove(frame)
                return frame
        while True:
            frame = self.link.frames.get(timeout=WAIT_S)
            if isinstance(frame, Exception):
                raise LinkEndedError from frame
            if fits(frame):
                return frame
            self.early.append(frame)

    def frame(self, kind: int, topic: str, payload=None, *, to: str | None = None, id: int = 0) -> Frame:
        parts = encode(payload)
        return Frame(kind, to or self.peer, self.name, topic, id, [len(part) for part in parts], None, join(parts))

    def send(self, topic: str, payload=None) -> None:
        self.link.send(self.frame(MESSAGE, topic, payload))

    def request(self, topic: str, payload=None, *, to: str | None = None):
        """Send a request and return the reply."""
        request = self.frame(REQUEST, topic, payload, to=to, id=self.number())
        self.link.send(request)
        return self.answer_to(request).payload

    def answer_to(self, request: Frame) -> Frame:
        answer = self.take(REPLY, ERROR, id=request.id, topic=request.topic, sender=request.to)
        if answer.kind == ERROR and answer.extra is None:
            raise FailedError(answer.payload["kind"], answer.payload["message"])
        return answer

    def reply(self, request: Frame, payload=None, kind: int = REPLY) -> None:
        self.link.send(self.frame(kind, request.topic, payload, to=request.sender, id=request.id))

    def number(self) -> int:
        return next(self._numbers)


class Writer:
    """Writes a byte stream within the credit that the reader grants."""

    def __init__(self, cell: SecondCell, topic: str, window: int, meta=None) -> None:
        self.cell, self.id, self.credit, self.at, self.waits = cell, cell.number(), window, 0, 0
        body = b"" if meta is None else to_file(encode(meta))
        cell.link.send(Frame(STREAM, cell.peer, cell.name, topic, self.id, None, {"open": window}, body))

    def write(self, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> None:
        for start in range(0, len(data), chunk_bytes):
            chunk = data[start : start + chunk_bytes]
            cost = max(len(chunk), LEAST_COST)
            while self.credit < cost:
                self.credit += self._hear("credit")
                self.waits += 1
            self.credit -= cost
            self.say({"at": self.at}, chunk)
            self.at += len(chunk)

    def close(self) -> None:
        """End the stream; return when the reader has confirmed it."""
        self.say({"end": self.at})
        assert self._hear("done") is True

    def say(self, extra: dict, body: bytes = b"") -> None:
        frame = Frame(STREAM, self.cell.peer, self.cell.name, "", self.id, None, extra, body)
        self.cell.link.send(frame)

    def _hear(self, key: str):
        while True:
            extra = self.cell.take(STREAM, id=self.id, is_of_writer=False).extra
            if "stop" in extra:
                raise FailedError(*extra["stop"])
            if key in extra:
                return extra[key]


class Reader:
    """Reads a byte stream, granting credit only when told to."""

    def __init__(self, cell: SecondCell, topic: str) -> None:
        self.cell, self.opening = cell, cell.take(STREAM, topic=topic, is_of_writer=True)
        self.allowed = self.window = self.opening.extra["open"]
        self.meta = decode(from_file(self.opening.body)) if self.opening.body else None
        self.spent, self.total, self.data = 0, None, bytearray()

    def step(self) -> int:
        """Read one chunk, or the end; return the cost of the chunk."""
        frame = self.cell.take(STREAM, id=self.opening.id, is_of_writer=True)
        if "abort" in frame.extra:
            raise FailedError(frame.extra["abort"])
        if "end" in frame.extra:
            self.total = frame.extra["end"]
            return 0
        assert frame.extra["at"] == len(self.data)
        assert len(frame.body) <= CHUNK_BYTES
        self.data += frame.body
        cost = max(len(frame.body), LEAST_COST)
        self.spent += cost
        assert self.spent <= self.allowed
        return cost

    def give(self, credit: int) -> None:
        self.allowed += credit
        self.say({"credit": credit})

    def read_all(self) -> bytes:
        """Read to the end and confirm it."""
        while self.total is None:
            if cost := self.step():
                self.give(cost)
        assert len(self.data) == self.total
        self.say({"done": True})
        return bytes(self.data)

    def say(self, extra: dict) -> None:
        frame = Frame(STREAM, self.opening.sender, self.cell.name, self.opening.topic, self.opening.id, None, extra)
        self.cell.link.send(frame)


class Seal:
    """The session keys of the initiator (section 6)."""

    def __init__(self, cell: SecondCell, to: str, certificate: bytes, private_key: bytes, authority: bytes) -> None:
        self.cell, self.to, self._counters = cell, to, itertools.count()
        key = ec.generate_private_key(ec.SECP256R1())
        ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        its_certificate, theirs, signature, self.session = cell.request("seal.hello", [certificate, ours], to=to)
        transcript = chain("flare seal 1", cell.name, to, ours, theirs)
        peer = x509.load_pem_x509_certificate(its_certificate)
        peer.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
        assert f"flare://cell/{to}" in self._identities(peer)
        peer.public_key().verify(signature, b"answer" + transcript, ec.ECDSA(SHA256()))
        shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
        keys = HKDF(SHA256(), 64, None, b"flare seal 1" + transcript).derive(shared)
        self._out, self._in = AESGCM(keys[:32]), AESGCM(keys[32:])
        own_key = load_pem_private_key(private_key, None)
        ours_signed = own_key.sign(b"hello" + transcript, ec.ECDSA(SHA256()))
        cell.request("seal.confirm", [self.session, ours_signed], to=to)

    @staticmethod
    def _identities(certificate: x509.Certificate) -> list[str]:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.UniformResourceIdentifier)

    @staticmethod
    def _visible(frame: Frame) -> bytes:
        return chain(bytes([frame.kind]), frame.to, frame.sender, frame.topic, str(frame.id))

    def request(self, topic: str, payload=None) -> Frame:
        """Send a sealed request; return the decrypted reply."""
        return self.exchange(self.cell.frame(REQUEST, topic, payload, to=self.to, id=self.cell.number()))

    def exchange(self, request: Frame) -> Frame:
        self.cell.link.send(self.close(request))
        return self.open(self.cell.answer_to(request))

    def close(self, frame: Frame) -> Frame:
        counter = struct.pack(">Q", next(self._counters))
        hidden = msgpack.packb([frame.lengths, frame.extra]) + frame.body
        body = counter + self._out.encrypt(bytes(4) + counter, hidden, self._visible(frame))
        return Frame(*frame.fields[:5], None, {"seal": self.session}, body)

    def open(self, frame: Frame) -> Frame:
        assert frame.extra == {"seal": self.session}
        hidden = self._in.decrypt(bytes(4) + frame.body[:8], frame.body[8:], self._visible(frame))
        unpacker = msgpack.Unpacker()
        unpacker.feed(hidden)
        lengths, extra = unpacker.unpack()
        return Frame(*frame.fields[:5], lengths, extra, hidden[unpacker.tell() :])
