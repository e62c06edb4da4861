"""What can go wrong while tensors are fetched.

FlareError
└── DownloadError            names the tensor and the cell that offers it
    ├── UnknownReferenceError    the reference was never made, or is closed
    ├── IncompleteError          fewer or more bytes arrived than were offered
    ├── DigestError              bytes arrived that are not those that were sent
    └── StalledError             no bytes arrived for too long
└── SafetensorsError         a file, or a dtype, is none that the container can hold
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
    """A reference was never made, or is closed."""


class IncompleteError(DownloadError):
    """Fewer or more bytes arrived than were offered."""


class DigestError(DownloadError):
    """Bytes arrived that are not those that were sent."""


class StalledError(DownloadError, TimeoutError):
    """Nothing arrived for as long as whoever fetches was ready to wait.

    Args:
        message: what was awaited, from whom, and for how long.
        owner: the cell that it was to come from.
    """

    def __init__(self, message: str, *, owner: str) -> None:
        super().__init__(message)
        self.owner = owner


class SafetensorsError(FlareError, ValueError):
    """A file is no safetensors file, or a dtype has no place in one."""
