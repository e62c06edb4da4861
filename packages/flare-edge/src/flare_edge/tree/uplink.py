"""Uplink: a node's connection to its parent, which lasts through lost links and restarts of either end.

Requests of a child, each a dict that names the ``session``, apart from the first:

    edge.hello    begins a session                                  -> {session}
    edge.attach   {leaf, devices, open, answered}: of a gateway     -> {received, acknowledged, expected, orders}
    edge.report   {moves, batch}: what came from below              -> {}
    edge.next     {seen}: waits for what goes down                  -> {items, seen}
    edge.model    {version}                                         -> {params}; None if it is no longer kept
    edge.ended    {}: all below know that the run is over           -> {}

A session that is over is answered with ``{stale: true}``. Items that go down, each with its data:

    orders        orders, as lists of their fields
    withdraw      tickets, of whichever gateways
    acknowledge   by leaf, the number of the last batch that survives a loss of the server
    drop          a version that no device will be asked for
    end           nothing: the run is over

The server itself answers every site's ``edge.over`` with whether the run is over, for sites whose parent is gone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flare_core import JobEndpoint, PartyError
from flare_edge.tree.topology import ROOT

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 0.05
LAST_RETRY_S = 1.0


class LostError(Exception):
    """The parent cannot be reached, or the session is over."""


class Uplink:
    """A connection to the parent; its requests and reports are made one at a time, but for the wait for items.

    Args:
        endpoint: the node's endpoint.
        parent: the parent's name.
        cancelled: set when the run is over.
        greet: called at the beginning of each session; tells the parent the node's state.
        handle: called with the kind and data of each item that comes down.
        end: called when the run is over, perhaps twice.
    Attributes:
        lock: held during reports and while a session begins.
    """

    def __init__(
        self,
        endpoint: JobEndpoint,
        parent: str,
        cancelled: threading.Event,
        *,
        greet: Callable[[], None],
        handle: Callable[[str, Any], None],
        end: Callable[[], None],
    ) -> None:
        self.lock = threading.RLock()
        self._endpoint = endpoint
        self._parent = parent
        self._cancelled = cancelled
        self._greet = greet
        self._handle = handle
        self._end = end
        self._session = ""
        self._has_ended = False

    def follow(self) -> None:
        """Handle what comes down until the run is over, or the site has lost its server."""
        session, seen, retry_s = "", 0, FIRST_RETRY_S
        while not self._cancelled.is_set():
            try:
                with self.lock:
                    self._ensure()
                    if not self._session:
                        break
                    if self._session != session:
                        session, seen = self._session, 0
                found = self._request(self._parent, "edge.next", {"session": session, "seen": seen})
                for kind, data in found["items"]:
                    if kind == "end":
                        self._has_ended = True
                        self._end()
                        self.call("edge.ended", {})
                        return
                    self._handle(kind, data)
                seen, retry_s = int(found["seen"]), FIRST_RETRY_S
            except LostError as error:
                logger.info("session lost parent=%s reason=%s", self._parent, error)
                if self._has_ended:
                    break
                self._lose(session)
                self._cancelled.wait(retry_s)
                retry_s = min(LAST_RETRY_S, 2 * retry_s)
        if self._has_ended:  # else the site has lost its server, and will be started again
            self._end()

    def report(self, data: Mapping[str, Any]) -> bool:
        """Send a report; return False if it is not known to have arrived. Then a new session has begun since."""
        with self.lock:
            if not self._session:
                return False  # the next session begins with all that the node has
            try:
                self.call("edge.report", data)
            except LostError as error:
                logger.info("report not sent parent=%s reason=%s", self._parent, error)
                self._session = ""
                self._ensure()
                return False
            return True

    def call(self, topic: str, data: Mapping[str, Any]) -> Any:
        """Send a request in the current session.

        Raises:
            LostError: it is not known to have arrived.
        """
        return self._request(self._parent, topic, {**data, "session": self._session})

    def model(self, version: int) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the params of a version; None if the parent no longer keeps it.

        Raises:
            LostError: the parent did not answer.
        """
        params: dict[str, np.ndarray[Any, Any]] | None = self.call("edge.model", {"version": version})["params"]
        return params

    def _ensure(self) -> None:
        """Begin a session if there is none; try until there is one, or the run is over. The caller has the lock."""
        retry_s = FIRST_RETRY_S
        while not self._session and not self._cancelled.is_set():
            try:
                self._session = self._request(self._parent, "edge.hello", {})["session"]
                self._greet()
            except LostError as error:
                logger.info("no session parent=%s reason=%s", self._parent, error)
                self._session = ""
                if self._is_over():
                    self._has_ended = True
                    return
                self._cancelled.wait(retry_s)
                retry_s = min(LAST_RETRY_S, 2 * retry_s)

    def _is_over(self) -> bool:
        """Ask the server itself whether the run is over, since the parent cannot be reached."""
        try:
            return bool(self._request(ROOT, "edge.over", {})["over"])
        except LostError:
            return False

    def _lose(self, session: str) -> None:
        with self.lock:
            if self._session == session:
                self._session = ""

    def _request(self, to: str, topic: str, data: Mapping[str, Any]) -> Any:
        try:
            reply = self._endpoint.request(to, topic, dict(data))
        except PartyError as error:
            raise LostError(str(error)) from error
        if reply.get("stale"):
            raise LostError("the session is over")
        return reply
