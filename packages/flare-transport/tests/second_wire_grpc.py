"""A second implementation of docs/wire.md, continued: the connector's end of links over gRPC (section 8)."""

from __future__ import annotations

import io
import os
import struct
import threading
from collections import deque
from queue import SimpleQueue

import grpc
from second_wire import WAIT_S, FailedError, Frame, LinkEndedError, proof

BYTES, TAKEN, END = range(3)
CHUNK_BYTES = 2 << 20
KEPT_BYTES = 16 << 20
ACKNOWLEDGE_BYTES, ACKNOWLEDGE_CHUNKS = 4 << 20, 64
HOST_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.-"


def identity_host(name: str) -> str:
    """Return the DNS name in the certificate of a cell."""
    escaped = (each if each in HOST_CHARACTERS else f"_{ord(each):02x}" for each in name)
    return "".join(escaped) + ".cell.flare.internal"


class Lane:
    """A lane of a link: its unacknowledged chunks, and received bytes that are no complete frame yet."""

    def __init__(self, link: GrpcLink, name: str) -> None:
        self.link, self.name, self.taken, self.resent = link, name, 0, 0
        self._kept: deque[bytes] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._outgoing: SimpleQueue[bytes | None] | None = None
        self._arrived = bytearray()

    def open(self, check: bool = True) -> None:
        """Open a stream, with the link's token if it has one."""
        link, nonce = self.link, os.urandom(32)
        metadata = [("flare-version", "3"), ("flare-cell", link.name), ("flare-lane", self.name)]
        if link.token:
            metadata += [("flare-link-bin", link.token), ("flare-received", str(self.taken))]
        if link.secret:
            metadata.append(("flare-nonce-bin", nonce))
        outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = link.method(iter(outgoing.get, None), metadata=metadata)
        try:
            answer = dict(self._call.initial_metadata())
            if "flare-cell" not in answer:
                raise FailedError(self._call.code().name, self._call.details())
            link.peer = answer["flare-cell"]
            if link.secret:
                names = (link.name, nonce, link.peer, answer["flare-nonce-bin"])
                if check:
                    assert answer["flare-proof-bin"] == proof(link.secret, "listener", *names)
                outgoing.put(proof(link.secret, "connector", *names))
        except BaseException:
            outgoing.put(None)
            raise
        with self._changed:
            if link.token:
                assert answer["flare-link-bin"] == link.token
                self._drop(int(answer["flare-received"]))
            link.token = answer["flare-link-bin"]
            self.resent = len(self._kept)
            for chunk in self._kept:
                outgoing.put(chunk)
            self._outgoing = outgoing
        self._thread = threading.Thread(target=self._read, args=(self._call,), daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break the stream and lose the data in flight."""
        with self._changed:
            if self._outgoing is None:
                return
            self._call.cancel()
            self._outgoing.put(None)
            self._outgoing = None
        self._thread.join(WAIT_S)

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK_BYTES):
            self._send(bytes([BYTES]) + data[start : start + CHUNK_BYTES])

    def close(self) -> None:
        """End the lane, and wait until the peer has ended it, too."""
        self._send(bytes([END]))
        with self._changed:
            if self._outgoing is None:
                return
            self._outgoing.put(None)
        self._thread.join(WAIT_S)

    def _send(self, chunk: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sum(map(len, self._kept)) < KEPT_BYTES, WAIT_S)
            self._kept.append(chunk)
            if self._outgoing is not None:
                self._outgoing.put(chunk)

    def _drop(self, count: int) -> None:
        for _ in range(count - self._dropped):
            self._kept.popleft()
        self._dropped = count
        self._changed.notify_all()

    def _read(self, call) -> None:
        bytes_since, chunks_since = 0, 0
        try:
            for chunk in call:
                if chunk[0] == TAKEN:
                    with self._changed:
                        self._drop(int.from_bytes(chunk[1:], "little"))
                    continue
                self.taken += 1
                if chunk[0] == END:
                    self.link.frames.put(LinkEndedError("the lane has ended"))
                    continue
                self._arrived += chunk[1:]
                self._put_frames()
                bytes_since, chunks_since = bytes_since + len(chunk), chunks_since + 1
                if bytes_since >= ACKNOWLEDGE_BYTES // 2 or chunks_since >= ACKNOWLEDGE_CHUNKS // 2:
                    bytes_since, chunks_since = 0, 0
                    with self._changed:
                        if self._outgoing is not None:
                            self._outgoing.put(bytes([TAKEN]) + struct.pack("<Q", self.taken))
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                self.link.frames.put(error)

    def _put_frames(self) -> None:
        while len(self._arrived) >= 16:
            header, body = struct.unpack_from("<4xIQ", self._arrived)
            if len(self._arrived) < 16 + header + body:
                return
            data = io.BytesIO(self._arrived[: 16 + header + body])
            del self._arrived[: 16 + header + body]
            self.link.frames.put(Frame.read(data.read))


class GrpcLink:
    """A link over gRPC: with a secret, or with a certificate, its key and the authority, if the peer's name is given.

    Attributes:
        peer: who is at the other end, as it says; with certificates, as was asked for.
    """

    def __init__(
        self,
        address: str,
        name: str,
        *,
        secret: bytes | None = None,
        certificates: tuple[bytes, bytes, bytes] | None = None,
        peer: str = "",
        check: bool = True,
        lanes: tuple[str, ...] = ("prompt", "bulk"),
    ) -> None:
        self.name, self.secret, self.peer, self.token = name, secret, peer, b""
        self.frames: SimpleQueue[Frame | Exception] = SimpleQueue()
        target = address.removeprefix("grpc://")
        if certificates:
            certificate, key, authority = certificates
            proofs = grpc.ssl_channel_credentials(authority, key, certificate)
            options = [("grpc.ssl_target_name_override", identity_host(peer))]
            self._channel = grpc.secure_channel(target, proofs, options)
        else:
            self._channel = grpc.insecure_channel(target)
        self.method = self._channel.stream_stream("/flare.Link/Open")
        self.lanes = [Lane(self, lane) for lane in lanes]
        try:
            for lane in self.lanes:
                lane.open(check)
        except BaseException:
            for lane in self.lanes:
                lane.cut()
            self._channel.close()
            raise

    def send(self, frame: Frame) -> None:
        self.lanes[frame.is_bulk].send(frame.pack())

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()
        self._channel.close()
