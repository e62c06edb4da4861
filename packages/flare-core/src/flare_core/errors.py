"""Exceptions, in a hierarchy that reflects how a caller would handle them.

    FlareError
    ├── ModelError               a model does not match: shapes, keys, dtypes, weights, values
    │   ├── ShapeMismatchError
    │   ├── DtypeMismatchError
    │   ├── UnknownKeyError
    │   ├── NonFiniteError
    │   ├── WeightError
    │   └── EmptyRoundError      nothing to average: no contribution, or a total weight of zero
    ├── ClientApiError           the training script called the Client API out of order
    ├── RecipeError              an argument of a recipe or of an environment is unusable
    │   └── ModelTypeError       a model of another framework; names the recipe that takes it
    ├── JobError                 a job description, its folder or one of its components is unusable
    ├── SiteError                one site failed: its script or its process died
    ├── PartyError               a party of a job is unreachable, refused a request, or aborted
    ├── JobFailed                the run as a whole ended without its result
    └── JobAborted               the run was stopped on request

Each message states the problem, where it is (site, key, file, value) and the remedy.
"""

from __future__ import annotations

from pathlib import Path


class FlareError(Exception):
    """Base class of the errors that Flare raises."""


class ModelError(FlareError, ValueError):
    """A model or a contribution does not match what the round expects."""


class ShapeMismatchError(ModelError):
    """Two arrays with the same key have different shapes."""


class DtypeMismatchError(ModelError):
    """Two arrays with the same key hold different kinds of numbers, which cannot be averaged."""


class UnknownKeyError(ModelError, KeyError):
    """A contribution has keys that the global model does not have."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""  # KeyError would show the repr of the message


class NonFiniteError(ModelError):
    """A contribution holds NaN or infinity."""


class WeightError(ModelError):
    """A contribution's weight is negative, NaN or infinite."""


class EmptyRoundError(ModelError):
    """A round has nothing to average."""


class ClientApiError(FlareError, RuntimeError):
    """A training script called the Client API out of order, or outside a run."""


class RecipeError(FlareError, ValueError):
    """An argument of a recipe or of an environment is unusable."""


class ModelTypeError(RecipeError, TypeError):
    """A recipe was given a model of another framework."""


class UnknownArgumentError(RecipeError, TypeError):
    """A recipe was given an argument that it does not have."""


class JobError(FlareError):
    """A job description, its folder or one of its components is unusable."""


class SiteError(FlareError):
    """One site failed.

    Args:
        message: the message, which names the site.
        site: the name of the site.
        details: the traceback, exit code or last output of its script; may be empty.
    """

    def __init__(self, message: str, *, site: str, details: str = "") -> None:
        super().__init__(message)
        self.site = site
        self.details = details

    def __str__(self) -> str:
        return f"{self.args[0]}\n{self.details}".rstrip()


class PartyError(FlareError, ConnectionError):
    """A party of a job is unreachable, refused a request, or aborted.

    Args:
        message: the message, which names the party.
        party: the name of the party.
    """

    def __init__(self, message: str, *, party: str) -> None:
        super().__init__(message)
        self.party = party


class JobFailed(FlareError):
    """A run ended without its result.

    Args:
        message: the cause, the site and the run's folder.
    Attributes:
        site: the site that failed, or whose reply could not be used; None if it was no site's.
        round: the round in which the run ended, counted from 0; None if none had begun.
        cause: the error, without the traceback.
        traceback: the traceback of the job's own code, or the last lines that a script printed.
        log: path of the log of that site, or of the run.

    Each attribute is None where it is not known.
    """

    def __init__(
        self,
        message: str,
        *,
        site: str | None = None,
        round: int | None = None,
        cause: str | None = None,
        traceback: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.site = site
        self.round = round
        self.cause = cause
        self.traceback = traceback
        self.log = log


class JobAborted(FlareError):
    """A run was stopped on request before its end."""
