"""What can go wrong between cells.

FlareError
└── TransportError            also raised itself, when an optional dependency is missing
    ├── AddressError          an address or a name cannot be read, or an address cannot be listened on
    ├── AuthenticationError   the peer could not prove who it is, or this cell could not
    ├── UnreachableError      no link leads to the addressed cell, or none can be made
    ├── PeerLostError         the link ended while something was under way; retry after it is back
    ├── ProtocolError         the peer sent bytes that are no frames, or frames that make no sense
    ├── StreamAbortedError    one end gave a byte stream up
    └── RemoteError           the peer's handler raised; carries its message
"""

from __future__ import annotations

from flare_core.errors import FlareError

__all__ = [
    "AddressError",
    "AuthenticationError",
    "PeerLostError",
    "ProtocolError",
    "RemoteError",
    "StreamAbortedError",
    "TransportError",
    "UnreachableError",
    "describe",
]


class TransportError(FlareError):
    """Something between two cells failed."""


class AddressError(TransportError, ValueError):
    """An address or a name cannot be read, or an address cannot be listened on."""


class AuthenticationError(TransportError):
    """One end of a link could not prove who it is."""


class HandshakeError(AuthenticationError):
    """A connection was cut while it was made: the certificates do not fit, or the other end is just being stopped."""


class UnreachableError(TransportError, ConnectionError):
    """No link leads to the addressed cell, or none can be made."""


class NameTakenError(UnreachableError):
    """A link cannot be made, as there is one to a cell of that name."""


class PeerLostError(TransportError, ConnectionError):
    """A link ended while something was under way."""


class ProtocolError(TransportError):
    """The peer sent bytes that are no frames, or frames that make no sense."""


class StreamAbortedError(TransportError):
    """One end of a byte stream gave it up before its end."""


class RemoteError(TransportError):
    """The peer's handler raised an exception.

    Args:
        message: what the peer said of it.
        kind: name of the exception's class there.
    """

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def describe(error: BaseException) -> dict[str, str]:
    """What a peer is told about an exception; characters that no encoding holds are escaped."""
    kind = error.kind if isinstance(error, RemoteError) and error.kind else type(error).__name__  # as it was at first
    return {"kind": kind, "message": str(error).encode("utf-8", "backslashreplace").decode()}
