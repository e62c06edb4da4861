"""HTTP over the loopback interface: ports that Flower's processes talk to, and requests to Flower's own ports."""

from __future__ import annotations

import http.client
import http.server
import logging
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from flare_flower.peers import is_own

logger = logging.getLogger(__name__)

KEEP_WAITING_S = 10.0
"""How often a client that waits for an answer is told that it will come: flwr's give up after 30 s of silence."""

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server", "te"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request, complete."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """A response, complete."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_empty(self) -> bool:
        """True for a protobuf message without any field."""
        return self.status == 200 and not self.body


Answer: TypeAlias = Callable[[Request], Response]


class LoopbackPort:
    """A port that answers the POST requests of the user's own programs on this machine.

    A response may take any time: meanwhile the client is sent ``102 Processing`` at intervals.

    Args:
        answer: answers a request; called on a thread of its own.
    """

    def __init__(self, answer: Answer) -> None:
        self._server = _Server(("127.0.0.1", 0), _Connection)
        self._server.answer = answer
        threading.Thread(target=self._server.accept_all, name="flare-flower-port", daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Close the port; connections that are open end with the process."""
        self._server.is_closed = True
        self._server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    answer: Answer
    is_closed = False

    def accept_all(self) -> None:
        """Serve each connection on a thread, until the port is closed; ``serve_forever`` would look twice a second."""
        while not self.is_closed:
            with suppress(OSError):  # the port is closed, or the client has gone already
                connection, client = self.get_request()
                if is_own(client, self.server_address[1]):
                    self.process_request(connection, client)
                else:
                    logger.warning("connection of another user refused port=%s", self.server_address[1])
                    self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("connection of a Flower process ended", exc_info=True)  # the process was killed, say


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        given = {key.lower(): value for key, value in self.headers.items() if key.lower() not in _HOP_BY_HOP}
        response = self._wait_for(Request(self.path, given, body))
        self.send_response_only(response.status)
        for key, value in response.headers.items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
        self.wfile.flush()

    def _wait_for(self, request: Request) -> Response:
        found: list[Response] = []
        is_there = threading.Event()

        def work() -> None:
            try:
                found.append(self.server.answer(request))
            except Exception as error:
                logger.warning("request of a Flower process failed path=%s", request.path, exc_info=True)
                found.append(Response(503, {}, str(error).encode()))  # it will try again
            is_there.set()

        threading.Thread(target=work, name="flare-flower-request", daemon=True).start()
        while not is_there.wait(KEEP_WAITING_S):
            self.send_response_only(102)
            self.end_headers()
            self.wfile.flush()
        return found[0]

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; each request is logged by Flower."""


class Upstream:
    """Requests to a Flower program's port, over connections that are kept open. Thread-safe.

    Args:
        address: host and port.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()
        self._is_closed = False

    def ask(self, request: Request) -> Response:
        """Send a request and return its response.

        Raises:
            OSError, http.client.HTTPException: there is no answer.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            return self._ask(http.client.HTTPConnection(self._address), request)
        try:
            return self._ask(connection, request)
        except (http.client.RemoteDisconnected, ConnectionError):  # it was closed for being idle
            return self._ask(http.client.HTTPConnection(self._address), request)

    def close(self) -> None:
        """Close the connections, those in use when they have their answer."""
        self._is_closed = True
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _ask(self, connection: http.client.HTTPConnection, request: Request) -> Response:
        try:
            connection.request("POST", request.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        if self._is_closed:
            self.close()
        given = {key.lower(): value for key, value in answer.getheaders() if key.lower() not in _HOP_BY_HOP}
        return Response(answer.status, given, body)
