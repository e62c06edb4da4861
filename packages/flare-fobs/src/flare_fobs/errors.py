"""Errors of serialization.

FlareError
└── FobsError (a ValueError)
    ├── EncodeError         an object holds something that cannot be serialized; names the path to it
    ├── DecodeError         the bytes are not a valid message, or name a type that is not registered here
    ├── LimitError          a message is too large, too deep or has too many items; it is also both of the above
    └── RegistrationError   a type or a name cannot be registered; fix the code that registers it
"""

from __future__ import annotations

from flare_core.errors import FlareError


class FobsError(FlareError, ValueError):
    """Base class of the errors of the serializer."""


class EncodeError(FobsError):
    """An object holds something that cannot be serialized; the message names its path, its type and the remedy."""


class DecodeError(FobsError):
    """The bytes are not a valid message, or hold a type that is not registered in this process."""


class LimitError(EncodeError, DecodeError):
    """A message is too large, too deep or has too many items, when it is encoded or decoded."""


class RegistrationError(FobsError):
    """A type or a name cannot be registered."""
