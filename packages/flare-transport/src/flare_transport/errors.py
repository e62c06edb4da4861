"""Errors of the transport.

FlareError
└── TransportError            raised itself when an optional dependency is missing
    ├── AddressError          an address or a name is invalid, or a cell cannot listen at the address
    ├── AuthenticationError   one end could not prove its name
    │   └── HandshakeError    the connection was closed during the TLS handshake
    ├── UnreachableError      no link leads to the addressed cell, or none can be made
    │   └── NameTakenError    the peer already has a link to a cell of that name
    ├── PeerLostError         the link ended during the operation; retry when it is back
    ├── ProtocolError         the peer sent invalid frames, or bytes that are not frames
    ├── StreamAbortedError    one end aborted a byte stream
    └── RemoteError           the peer's handler raised; contains its message
"""

from __future__ import annotations

from flare_core.errors import FlareError


class TransportError(FlareError):
    """Communication between two cells failed."""


class AddressError(TransportError, ValueError):
    """An address or a name is invalid, or a cell cannot listen at the address."""


class AuthenticationError(TransportError):
    """One end of a link could not prove its name."""


class HandshakeError(AuthenticationError):
    """A connection was closed during the TLS handshake: the certificates do not match, or the peer is being stopped."""


class UnreachableError(TransportError, ConnectionError):
    """No link leads to the addressed cell, or none can be made."""


class NameTakenError(UnreachableError):
    """A link cannot be made, as the peer already has one to a cell of that name."""


class PeerLostError(TransportError, ConnectionError):
    """A link ended during an operation, so its outcome at the peer is unknown."""


class ProtocolError(TransportError):
    """The peer sent invalid frames, or bytes that are not frames."""


class StreamAbortedError(TransportError):
    """One end aborted a byte stream before its end."""


class RemoteError(TransportError):
    """The peer's handler raised an exception.

    Args:
        message: of the exception.
        kind: name of the exception's class at the peer.
    """

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


def describe(error: BaseException) -> dict[str, str]:
    """Return the description of an exception that is sent to a peer; lone surrogates are escaped."""
    # A RemoteError that passes through several cells keeps the kind of the original exception.
    kind = error.kind if isinstance(error, RemoteError) and error.kind else type(error).__name__
    return {"kind": kind, "message": str(error).encode("utf-8", "backslashreplace").decode()}
