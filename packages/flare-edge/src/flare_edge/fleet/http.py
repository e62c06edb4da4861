"""A small HTTP/1.1 client for many connections in one process: one request at a time on each, over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from flare_edge.errors import EdgeError

_MAX_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A gateway's answer; names of headers are in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True)
class Place:
    """A gateway: where it is, and the SHA-256 of its certificate, if that is what proves it."""

    host: str
    port: int
    sha256: str
    tls: ssl.SSLContext | None

    @classmethod
    def at(cls, url: str, sha256: str) -> Place:
        """Return the place of a URL; without a digest, the system's authorities decide."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        context = None
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if sha256:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return cls(parts.hostname or "", port, sha256, context)


class Connection(asyncio.Protocol):
    """One connection; a request's answer is a future, which fails with ConnectionError if the connection ends."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._head: tuple[int, dict[bytes, bytes], int] | None = None
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, place: Place) -> Connection:
        """Connect.

        Raises:
            OSError: that is not possible.
            EdgeError: the gateway has another certificate.
        """
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(cls, place.host, place.port, ssl=place.tls)
        if place.sha256:
            certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if hashlib.sha256(certificate).hexdigest() != place.sha256:
                transport.abort()
                raise EdgeError(f"{place.host}:{place.port} has another certificate than its join link says")
        return connection

    @property
    def is_open(self) -> bool:
        """True as long as requests can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request, head and body."""
        answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(ConnectionError("the connection was closed"))
        else:
            self._answer = answer
            self._transport.write(request)
        return answer

    def drop(self) -> None:
        """End the connection at once, as a device does that loses its network."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvloop's is not an asyncio.Transport
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the connection ended"))

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    self.drop()
                return
            self._head = _head(self._buffer[:end])
            self._buffer = self._buffer[end + 4 :]
        status, headers, length = self._head
        if len(self._buffer) < length:
            return
        body, self._buffer, self._head = self._buffer[:length], self._buffer[length:], None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(status, headers, body))
        if headers.get(b"connection") == b"close" and self._transport is not None:
            self._transport.close()


def _head(head: bytes) -> tuple[int, dict[bytes, bytes], int]:
    first, *lines = head.split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    status = int(first[9:12])
    return status, headers, 0 if status in (204, 304) else int(headers[b"content-length"])
