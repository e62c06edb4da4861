"""What can go wrong between objects and bytes.

FlareError
└── FobsError (a ValueError)
    ├── EncodeError         the sender's object holds something that cannot travel; names the path to it
    ├── DecodeError         the bytes are no valid message, or name a type that is not registered here
    ├── LimitError          too large, too deep or too many; both of the above, so either handler sees it
    └── RegistrationError   a type or a name cannot be registered; fix the code that registers it
"""

from __future__ import annotations

from flare_core.errors import FlareError

__all__ = ["DecodeError", "EncodeError", "FobsError", "LimitError", "RegistrationError"]


class FobsError(FlareError, ValueError):
    """Any error of the serializer."""


class EncodeError(FobsError):
    """An object holds something that cannot travel; the message names the path to it, its type and the remedy."""


class DecodeError(FobsError):
    """Bytes that are no valid message, or that hold a type which is not registered in this process."""


class LimitError(EncodeError, DecodeError):
    """A message exceeds :class:`flare_fobs.Limits`, on its way out or in."""


class RegistrationError(FobsError):
    """A type or a name cannot be registered."""
