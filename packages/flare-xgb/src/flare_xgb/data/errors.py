"""Errors of data that cannot be trained on."""

from __future__ import annotations

from flare_core import FlareError


class DataError(FlareError, ValueError):
    """A table cannot be read, holds unusable values, or does not fit those of the other sites; names the column."""
