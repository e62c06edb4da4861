"""Exceptions that components raise or catch."""

from __future__ import annotations

from flare_core import FlareError


class FLCommunicationError(FlareError):
    """Two parties cannot reach each other."""

    def __init__(self, message: str, exception: Exception | None = None) -> None:
        super().__init__(message)
        self.exception = exception


class UnsafeJobError(FlareError):
    """A job may not run here."""


class UnsafeComponentError(FlareError):
    """A component may not be used here."""


class NotAuthenticated(FlareError):
    """A party could not prove who it is."""


class NotAuthorized(FlareError):
    """A party may not do what it asked for."""


class TaskExecutionError(FlareError):
    """A task failed."""


class NotReadyToEndRun(FlareError):
    """A component needs the run to go on."""
