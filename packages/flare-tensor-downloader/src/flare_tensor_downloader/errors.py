"""Errors of transfers and of safetensors files.

FlareError
├── DownloadError                a tensor could not be fetched; names it and the cell that offers it
│   ├── UnknownReferenceError    the reference is unknown or closed
│   ├── IncompleteError          the number of bytes is wrong
│   ├── DigestError              the bytes were corrupted
│   └── StalledError             no bytes arrived within the time limit
└── SafetensorsError             a file is not a valid safetensors file, or a dtype is not supported by the format
"""

from __future__ import annotations

from flare_core.errors import FlareError

__all__ = [
    "DigestError",
    "DownloadError",
    "IncompleteError",
    "SafetensorsError",
    "StalledError",
    "UnknownReferenceError",
]


class DownloadError(FlareError):
    """A tensor could not be fetched."""


class UnknownReferenceError(DownloadError):
    """A reference is unknown or closed."""


class IncompleteError(DownloadError):
    """Fewer or more bytes arrived than were requested."""


class DigestError(DownloadError):
    """The bytes that arrived do not match their digest."""


class StalledError(DownloadError, TimeoutError):
    """No bytes arrived within the time limit.

    Args:
        message: the tensor, its owner and the limit.
        owner: the cell that offers the tensor.
    """

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class SafetensorsError(FlareError, ValueError):
    """A file is not a valid safetensors file, or the format does not support a dtype."""
