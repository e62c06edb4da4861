"""Errors of storage."""

from flare_core import FlareError


class StorageException(FlareError):
    """Something cannot be stored or read."""
