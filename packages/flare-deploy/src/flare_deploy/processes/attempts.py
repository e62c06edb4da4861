"""Attempts to connect to the server or a relay: how long to back off between them, and when to give up."""

from __future__ import annotations

import logging

from flare_transport import AuthenticationError, TransportError, UnreachableError
from flare_transport.errors import HandshakeError, NameTakenError

__all__ = ["Attempts"]

logger = logging.getLogger(__name__)

MIN_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0
DEAD_LINK_S = 45.0  # after which a server has noticed that this participant's former connection is dead
MAX_HANDSHAKES = 3  # failures in a row that mean that the certificates do not match


class Attempts:
    """The failed attempts of a participant to connect, until one succeeds.

    Args:
        name: the participant's.
        was_connected: it has connected with this certificate before, so a failing handshake is a matter of time.
    """

    def __init__(self, name: str, *, was_connected: bool) -> None:
        self._name = name
        self._was_connected = was_connected
        self._backoff_s = MIN_BACKOFF_S
        self._waited_s = 0.0
        self._handshakes = 0

    def failed(self, error: TransportError) -> float:
        """Return how many seconds to wait after a failed attempt before the next.

        Raises:
            AuthenticationError: no attempt would succeed; says why.
        """
        if isinstance(error, HandshakeError):  # also if the server is just being stopped
            self._handshakes += 1
            if not self._was_connected and self._handshakes == MAX_HANDSHAKES:
                raise error
            logger.warning("the connection was cut during the handshake reason=%s", error)
        elif isinstance(error, AuthenticationError):
            raise error
        elif isinstance(error, UnreachableError):
            if isinstance(error, NameTakenError) and self._waited_s > DEAD_LINK_S:
                raise AuthenticationError(
                    f"{self._name} is connected already, from another machine or folder; only one process at a time may"
                    " use a kit, so stop the other, or invite this machine under a name of its own"
                ) from error
            logger.info("cannot connect yet reason=%s", error)
        else:
            logger.warning("refused for now reason=%s", error)
        backoff_s = self._backoff_s
        self._waited_s += backoff_s
        self._backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
        return backoff_s
