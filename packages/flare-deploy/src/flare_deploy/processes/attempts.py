"""Attempts to reach the server, or the relay that leads to it: how long to pause between them, and when to give up."""

from __future__ import annotations

import logging

from flare_transport import AuthenticationError, HandshakeError, NameTakenError, TransportError, UnreachableError

__all__ = ["Attempts"]

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 5.0
DEAD_LINK_S = 45.0  # within which a server has noticed that the former connection of this participant is dead
HANDSHAKES = 3  # that fail before it is believed that the certificates do not match


class Attempts:
    """Those of one participant, until one succeeds.

    Args:
        name: the participant's.
        was_connected: whether its certificate was good before.
    """

    def __init__(self, name: str, *, was_connected: bool) -> None:
        self._name = name
        self._was_connected = was_connected
        self._pause_s = FIRST_PAUSE_S
        self._waited_s = 0.0
        self._handshakes = 0

    def failed(self, error: TransportError) -> float:
        """Take note that one has failed; return how many seconds to pause before the next.

        Raises:
            AuthenticationError: no other would succeed; says why.
        """
        if isinstance(error, HandshakeError):  # as happens if the server is just being stopped
            self._handshakes += 1
            if not self._was_connected and self._handshakes == HANDSHAKES:
                raise error
            logger.warning("the connection was cut while it was made reason=%s", error)
        elif isinstance(error, AuthenticationError):
            raise error
        elif isinstance(error, UnreachableError):
            if isinstance(error, NameTakenError) and self._waited_s > DEAD_LINK_S:
                raise AuthenticationError(
                    f"{self._name} is connected already, from another machine or folder; a kit serves one process"
                    " at a time, so stop the other, or invite this machine under a name of its own"
                ) from error
            logger.info("cannot connect yet reason=%s", error)
        else:
            logger.warning("not taken in reason=%s", error)
        pause_s = self._pause_s
        self._waited_s += pause_s
        self._pause_s = min(2 * pause_s, LAST_PAUSE_S)
        return pause_s
