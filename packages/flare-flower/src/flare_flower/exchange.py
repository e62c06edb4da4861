"""Requests of a site's SuperNode on their way to the server, each performed exactly once, whatever happens to the link.

The site's end numbers its requests, sends each as a stream, and sends it again over a new stream if one breaks. The
server's end performs a request the first time that all of it has come, and keeps the response until the site, in the
description of a later request, no longer lists it as open.

A stream from a site has the topic ``flower.request`` and as its meta a dict: ``node``, a random name of the site's end;
``number``; ``open``, the numbers of all requests that are under way; ``path``; ``headers``. Its bytes are the request's
body. The bytes that come back are a line of JSON, ``[status, headers]``, and the response's body.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flare_core import JobEndpoint, PartyError, Stream
from flare_flower.gate import Gate
from flare_flower.loopback import Request, Response

logger = logging.getLogger(__name__)

TOPIC = "flower.request"
RETRY_S = 1.0
"""How soon a request whose stream broke is sent again, if the server seems to be there."""

MOST_BYTES = 256 << 20
"""The limit of a body. Flower sends arrays in parts of 5 MiB; other values, such as bytes in a record, in one."""

STALE_S = 250.0
"""After so long a request is given up, for the SuperNode to make it anew: it is signed with a time."""


class SiteEnd:
    """Sends the requests of one SuperNode to the server.

    Args:
        endpoint: the site's endpoint.
        cancelled: set when the run is over.
    """

    def __init__(self, endpoint: JobEndpoint, cancelled: threading.Event) -> None:
        self._endpoint = endpoint
        self._cancelled = cancelled
        self._node = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._open: set[int] = set()
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response:
        """Return the server's answer to a request; a broken link delays it.

        Raises:
            PartyError: the run is over, or the server was away for too long.
        """
        with self._lock:
            number = next(self._numbers)
            self._open.add(number)
        since = time.monotonic()
        try:
            while True:
                try:
                    return self._ask(request, number)
                except PartyError as error:
                    if self._cancelled.wait(RETRY_S) or time.monotonic() - since > STALE_S:
                        raise
                    logger.info("request is sent again path=%s reason=%s", request.path, error)
        finally:
            with self._lock:
                self._open.discard(number)

    def _ask(self, request: Request, number: int) -> Response:
        with self._lock:
            still_open = sorted(self._open)
        meta = {
            "node": self._node,
            "number": number,
            "open": still_open,
            "path": request.path,
            "headers": dict(request.headers),
        }
        with self._endpoint.open_stream("server", TOPIC, meta) as stream:
            stream.write(request.body)
            stream.close_write()
            data = read_all(stream)
        head, _, body = data.partition(b"\n")
        status, headers = json.loads(head)
        return Response(status, headers, body)


@dataclass(slots=True)
class _Exchange:
    """One request at the server's end."""

    path: str
    is_done: threading.Event = field(default_factory=threading.Event)
    response: Response | None = None


@dataclass(slots=True)
class _Node:
    """A SuperNode whose requests arrive: its site's end, by name, and its requests that are not forgotten yet."""

    name: str
    exchanges: dict[int, _Exchange] = field(default_factory=dict)


class ServerEnd:
    """Receives the requests of all SuperNodes.

    Args:
        gate: answers them.
        is_open: waits until the SuperLink is there; false if it will not be.
    """

    def __init__(self, gate: Callable[[], Gate | None]) -> None:
        self._gate = gate
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()

    def serve(self, stream: Stream) -> None:
        """Serve one request; the handler of its stream."""
        meta: dict[str, Any] = stream.meta
        site, number, path = stream.peer, int(meta["number"]), str(meta["path"])
        body = read_all(stream)
        node, exchange, is_new = self._exchange(site, str(meta["node"]), number, path, set(meta["open"]))
        if is_new:
            self._perform(site, node, exchange, Request(path, dict(meta["headers"]), body))
        exchange.is_done.wait()
        response = exchange.response or Response(503)
        head = json.dumps([response.status, dict(response.headers)]).encode()
        stream.write(head + b"\n")
        stream.write(response.body)

    def _exchange(
        self, site: str, name: str, number: int, path: str, still_open: set[int]
    ) -> tuple[_Node, _Exchange, bool]:
        """Return what is known of a request, and whether it is new; forget the responses that have arrived."""
        with self._lock:
            node = self._nodes.get(site)
            if node is None or node.name != name:
                node = self._nodes[site] = _Node(name)  # the site has a new SuperNode
            for each in set(node.exchanges) - still_open:
                if node.exchanges[each].is_done.is_set():
                    del node.exchanges[each]
            is_new = number not in node.exchanges
            exchange = node.exchanges.setdefault(number, _Exchange(path))
            return node, exchange, is_new

    def _perform(self, site: str, node: _Node, exchange: _Exchange, request: Request) -> None:
        try:
            gate = self._gate()
            if gate is not None:
                exchange.response = gate.of_node(site, request, lambda: self._nodes.get(site) is node)
        except Exception as error:
            logger.warning("request of a SuperNode failed site=%s path=%s reason=%s", site, request.path, error)
        finally:
            exchange.is_done.set()


def read_all(stream: Stream) -> bytes:
    """Read a stream to its end.

    Raises:
        PartyError: it is longer than any request or response of Flower's.
    """
    pieces: list[bytes] = []
    left = MOST_BYTES
    while piece := stream.read():
        left -= len(piece)
        if left < 0:
            raise PartyError(f"{stream.peer} sent more than {MOST_BYTES >> 20} MiB in one request", party=stream.peer)
        pieces.append(piece)
    return b"".join(pieces)
