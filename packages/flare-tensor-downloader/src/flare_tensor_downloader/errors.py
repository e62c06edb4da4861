"""Errors of transfers and of safetensors files.

FlareError
├── DownloadError                a tensor could not be fetched; names it and the cell that offers it
│   ├── UnknownReferenceError    the reference is unknown or closed
│   └── StalledError             no bytes arrived within the time limit
└── SafetensorsError             a file is not a valid safetensors file, or a dtype is not supported by the format
"""

from __future__ import annotations

from flare_core.errors import FlareError


class DownloadError(FlareError):
    """A tensor could not be fetched."""


class UnknownReferenceError(DownloadError):
    """A reference is unknown or closed."""


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
