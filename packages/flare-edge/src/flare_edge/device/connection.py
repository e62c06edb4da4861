"""A device's connection to a gateway: made again whenever it breaks, only with the certificate that was promised."""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flare_edge.errors import EdgeError

log = logging.getLogger(__name__)

_TIMEOUT_S = 30.0
_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 10.0


@dataclass(frozen=True)
class Link:
    """A join link: ``https://host:port/#INVITATION`` or ``https://host:port/#INVITATION.SHA256``."""

    url: str
    invitation: str
    sha256: str

    @classmethod
    def read(cls, link: str) -> Link:
        """Read a join link.

        Raises:
            EdgeError: it is not one.
        """
        address, _, secret = link.strip().partition("#")
        parts = urlsplit(address)
        invitation, _, sha256 = secret.partition(".")
        if parts.scheme not in ("http", "https") or not parts.hostname or (sha256 and len(sha256) != 64):
            raise EdgeError(
                f"{address[:100]!r} is not a join link, such as https://host:port/#invitation; copy all of it"
            )
        return cls(address.rstrip("/"), invitation, sha256.lower())


@dataclass(frozen=True)
class Answer:
    """A gateway's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body, a JSON object.

        Raises:
            EdgeError: it is not one.
        """
        try:
            values = json.loads(self.body)
        except ValueError as error:
            raise EdgeError("the answer is not JSON; is there something else at the gateway's address?") from error
        if not isinstance(values, dict):
            raise EdgeError("the answer is not a JSON object; is there something else at the gateway's address?")
        return values

    @property
    def problem(self) -> str:
        """The gateway's words for what went wrong."""
        try:
            return str(self.json().get("message", self.status))
        except EdgeError:
            return f"status {self.status}"

    @property
    def code(self) -> str:
        """The gateway's word for what went wrong; empty if it has none."""
        try:
            return str(self.json().get("error", ""))
        except EdgeError:
            return ""


class Connection:
    """Sends requests and repeats them until there is an answer; to be used by one thread.

    Args:
        url: of the gateway.
        sha256: of its certificate; empty: authorities decide.
        authorities: a PEM file of them; None: the system's.
        patience_s: a gateway that cannot be reached for so long is given up.
    """

    def __init__(self, url: str, sha256: str, *, authorities: Path | None, patience_s: float) -> None:
        self._url = url
        parts = urlsplit(url)
        self._host, self._path = parts.netloc, parts.path
        self._sha256 = sha256
        self._context = _context(sha256, authorities) if parts.scheme == "https" else None
        self._patience_s = patience_s
        self._open: http.client.HTTPConnection | None = None
        self._closed = threading.Event()
        self.token = ""

    def close(self) -> None:
        """Close the connection; whoever waits for it in another thread stops waiting."""
        self._closed.set()
        self._drop()

    def request(
        self, method: str, path: str, body: bytes | None = None, *, wait_s: float = 0.0, **headers: str
    ) -> Answer:
        """Send a request until it is answered.

        Underscores in names of headers stand for dashes; headers without a value are left out.

        Raises:
            EdgeError: the gateway cannot be reached, has another certificate, or the connection was closed.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        deadline = time.monotonic() + self._patience_s + wait_s
        attempt = 0
        while not self._closed.is_set():
            try:
                answer = self._exchange(method, path, body, sent, wait_s)
                if answer.status not in (408, 429, 502, 503, 504):
                    return answer
                problem, delay = answer.problem, _seconds(answer.headers.get("retry-after"))
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                problem, delay = str(error) or type(error).__name__, 0.0
            if attempt:  # at first at once: the gateway closes connections that were idle for long
                delay = max(delay, min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2**attempt) * random.uniform(0.5, 1.0))
            attempt += 1
            if time.monotonic() + delay > deadline:
                raise EdgeError(
                    f"the gateway {self._url} did not answer for {self._patience_s:g} s ({problem}); try later"
                )
            log.debug("%s %s is repeated in %.1f s: %s", method, path, delay, problem)
            self._closed.wait(delay)
        raise EdgeError("the connection was closed")

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], wait_s: float
    ) -> Answer:
        if self._open is None:
            self._open = self._connected()
        if self._open.sock is not None:
            self._open.sock.settimeout(_TIMEOUT_S + wait_s)
        self._open.request(method, self._path + path, body, dict(headers))
        response = self._open.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        if response.will_close:
            self._drop()
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._context is None:
            plain = http.client.HTTPConnection(self._host, timeout=_TIMEOUT_S)
            plain.connect()
            return plain
        connection = http.client.HTTPSConnection(self._host, timeout=_TIMEOUT_S, context=self._context)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise EdgeError(
                f"the certificate of {self._url} is not trusted ({error.verify_message}): use its join link"
            ) from error
        certificate = connection.sock.getpeercert(binary_form=True)
        if self._sha256 and hashlib.sha256(certificate or b"").hexdigest() != self._sha256:
            connection.close()
            raise EdgeError(
                f"{self._url} has another certificate than the join link says; get a new link from its site"
            )
        return connection

    def _drop(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _context(sha256: str, authorities: Path | None) -> ssl.SSLContext:
    """Return the context of TLS; with a digest, the certificate is compared with that, and with nothing else."""
    if not sha256:
        return ssl.create_default_context(cafile=authorities)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() and len(retry_after) < 6 else 0.0
