"""The gate before a SuperLink: all requests pass through it, and polls that would find nothing wait in it.

A SuperNode that finds no message sleeps three seconds before it asks again, a ServerApp that finds no reply as well,
and one that finds too few nodes or an object that has not come yet a second. Here their question is answered when there
is something: when the ServerApp has sent a message, when an object of it has come, and when the last reply that the
ServerApp asks for is complete. Until then nothing is asked.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from functools import partial

from flare_core import FlareError
from flare_flower import wire
from flare_flower.loopback import Request, Response, Upstream
from flare_flower.watch import STALLED_S, Watch

NODE_POLL_S = 200.0
"""How long a node's poll may wait. The node signs the time of its request, which is valid for 300 s."""

APP_POLL_S = 10.0
"""How long a ServerApp's poll may wait: it looks at its own timeouts only when it has an answer."""

NODES_S = 25.0
"""How long its question for the nodes may wait, at its start."""


class Gate:
    """Asks a SuperLink, and holds polls back. Thread-safe.

    Args:
        upstream: the SuperLink's port.
        watch: what was seen of the run.

    Attributes:
        nodes: how many nodes the ServerApp's first question for nodes waits for. A strategy takes the nodes that it
            finds then for all, so a site that is a second late would miss the first round.
    """

    def __init__(self, upstream: Upstream, watch: Watch) -> None:
        self.nodes = 0
        self._upstream = upstream
        self._watch = watch
        self._nodes_until: float | None = None

    def of_node(self, site: str, request: Request, is_wanted: Callable[[], bool]) -> Response:
        """Answer a request of a site's SuperNode.

        Args:
            site: the site.
            request: the request.
            is_wanted: false once nobody waits for the answer any more.
        """
        if not request.path.startswith("/v1/fleet/"):
            return Response(404)  # the Control and Runtime APIs are the server's own
        if request.path.endswith("/pull-object"):
            self._await_object(wire.text(request.body, 3), is_wanted)
        if not request.path.endswith("/pull-messages"):
            return self._ask(site, request)
        until = time.monotonic() + NODE_POLL_S
        while True:
            seen = self._watch.pushes
            response = self._ask(site, request)
            left = until - time.monotonic()
            if not response.is_empty or self._watch.is_over or not is_wanted() or left <= 0:
                return response
            self._watch.wait_for(partial(self._has_news, seen, is_wanted), left)

    def _has_news(self, seen: int, is_wanted: Callable[[], bool]) -> bool:
        return not is_wanted() or self._watch.pushes > seen

    def _await_object(self, identity: str, is_wanted: Callable[[], bool]) -> None:
        """Wait for an object that the ServerApp has yet to send, while it sends any."""

        def is_there() -> bool:
            return not self._watch.is_on_its_way(identity) or not is_wanted()

        while not self._watch.is_over and not is_there():
            self._watch.wait_for(is_there, STALLED_S)

    def of_app(self, request: Request) -> Response:
        """Answer a request of the ServerApp."""
        if request.path.endswith("/runtime/pull-messages"):
            wanted = {each.decode() for each in wire.parts(request.body, 2)}
            self._watch.wait_for(lambda: self._watch.has_answers(wanted), APP_POLL_S)
        elif request.path.endswith("/runtime/get-nodes"):
            self._nodes_until = self._nodes_until or time.monotonic() + NODES_S
            left = max(0.0, self._nodes_until - time.monotonic())
            self._watch.wait_for(lambda: len(self._watch.nodes) >= self.nodes, left)
        return self._ask("", request)

    def _ask(self, site: str, request: Request) -> Response:
        try:
            response = self._upstream.ask(request)
        except (OSError, http.client.HTTPException) as error:
            raise FlareError(f"the SuperLink does not answer: {error}") from error
        self._watch.note(site, request, response)
        return response
