"""Replies: what the scripts of a process answer, sent a few at a time where that takes less."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import NoneType
from typing import Any

import numpy as np

from flare_core import FLModel
from flare_fobs import FobsError
from flare_transport import TransportError

__all__ = ["Replies", "copied"]

logger = logging.getLogger(__name__)

AT_ONCE = 8
_MOST_BYTES = 1 << 16  # of a model that is copied
_UNCHANGING = frozenset((NoneType, bool, int, float, str, np.float32, np.float64))


class Replies:
    """Sends the replies of scripts that take turns.

    A script leaves nothing of this code in the processor's cache, so that to send one reply takes as long as to send a
    few. So replies can be held while other scripts have the turn: until there are eight, or for a moment.

    Args:
        send: sends a reply to the server.
        refused: told the site and the error if a reply that was held cannot be serialized.
        patience_s: for how many seconds a reply is held at most.
    """

    def __init__(
        self, send: Callable[[list[Any]], None], refused: Callable[[str, FobsError], None], patience_s: float = 0.25
    ) -> None:
        self._send = send
        self._refused = refused
        self._patience_s = patience_s
        self._held: list[tuple[str, list[Any]]] = []
        self._until = 0.0  # when those that are held are sent
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None
        self._is_closed = False

    def hold(self, site: str, reply: list[Any]) -> None:
        """Send a reply soon; nothing in it may change until then."""
        with self._changed:
            self._held.append((site, reply))
            if len(self._held) == 1:
                self._keep_time()
            elif len(self._held) >= AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Send the replies that are held.

        Raises:
            TransportError: the link has ended.
        """
        with self._changed:
            held, self._held = self._held, []
            for site, reply in held:
                try:
                    self._send(reply)
                except FobsError as error:
                    self._refused(site, error)

    def close(self) -> None:
        """Send the replies that are held, and end the thread that sends late ones."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._keeper is not None:
            self._keeper.join()

    def _keep_time(self) -> None:
        self._until = time.monotonic() + self._patience_s
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._send_late_ones, name="flare-replies", daemon=True)
            self._keeper.start()
        else:
            self._changed.notify()

    def _send_late_ones(self) -> None:
        with self._changed:
            while not self._is_closed:
                while self._held and (left := self._until - time.monotonic()) > 0:
                    self._changed.wait(left)
                try:
                    self.flush()
                except TransportError as error:
                    logger.warning("replies not sent reason=%s", error)
                self._changed.wait_for(lambda: self._held or self._is_closed)


def copied(model: FLModel) -> FLModel | None:
    """Return a copy of a model that is small and plain: nothing in it can change any more. None if it is not."""
    params = model.params
    if model.optimizer_params is not None:
        return None
    if params is not None:
        if type(params) is not dict or any(type(value) is not np.ndarray for value in params.values()):
            return None
        if sum(value.nbytes for value in params.values()) > _MOST_BYTES:
            return None
        params = {name: value.copy() for name, value in params.items()}
    for values in (model.metrics or {}, model.meta):
        if any(type(value) not in _UNCHANGING for value in values.values()):
            return None
    metrics = None if model.metrics is None else dict(model.metrics)
    return replace(model, params=params, metrics=metrics, meta=dict(model.meta))
