"""Serving: the requests of children, as an endpoint hands them to a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from flare_core import JobEndpoint
from flare_edge.tree.sessions import StaleSessionError


class Parent(Protocol):
    """A node with children; :mod:`flare_edge.tree.uplink` describes the requests.

    All but ``hello`` raise StaleSessionError if the session that the data name is over.
    """

    def hello(self, child: str) -> dict[str, Any]:
        """Begin a session of a child."""

    def attach(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Take the state of a gateway, and return what the server knows of it."""

    def report(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Take what came from below."""

    def next_items(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for items that go down to the child."""

    def model(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the params of a version."""

    def ended(self, child: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Note that all below the child know that the run is over."""


def serve(endpoint: JobEndpoint, parent: Parent, fail: Callable[[BaseException], None]) -> None:
    """Register the handlers of a parent.

    Args:
        endpoint: the node's.
        parent: the node.
        fail: fails the run, for a request that cannot be served: its child would repeat it forever.
    """
    endpoint.handle("edge.hello", lambda child, data: parent.hello(child))
    for topic, answer in (
        ("edge.attach", parent.attach),
        ("edge.report", parent.report),
        ("edge.next", parent.next_items),
        ("edge.model", parent.model),
        ("edge.ended", parent.ended),
    ):
        endpoint.handle(topic, _answering(answer, fail))


def _answering(
    answer: Callable[[str, Mapping[str, Any]], dict[str, Any]], fail: Callable[[BaseException], None]
) -> Callable[[str, Any], dict[str, Any]]:
    def handler(child: str, data: Any) -> dict[str, Any]:
        try:
            return answer(child, data)
        except StaleSessionError:
            return {"stale": True}
        except Exception as error:
            fail(error)
            raise

    return handler
