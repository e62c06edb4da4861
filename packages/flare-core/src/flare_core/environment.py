"""Environments, in which jobs run, and the runs that they return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flare_core.events import Event
from flare_core.job import Job


class RunStatus(StrEnum):
    """The status of a run, with the same values in every environment."""

    SUBMITTED = "submitted"
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def has_ended(self) -> bool:
        """True if the status is final."""
        return self in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.ABORTED)


@runtime_checkable
class Run(Protocol):
    """A deployed job."""

    def get_job_id(self) -> str:
        """Return the environment's id of the run."""

    def get_status(self) -> RunStatus:
        """Return the current status."""

    def get_result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Path:
        """Wait until the run ends and return its folder.

        Raises:
            JobFailed: the run failed; the message includes the site's traceback and the folder.
            JobAborted: the run was stopped.
            TimeoutError: the run has not ended after ``timeout`` seconds; None means no limit.
        """

    def load_model(self, name: str = "global", *, raise_on_failure: bool = True) -> dict[str, Any]:
        """Return the params of the ``global`` or ``best`` checkpoint, as arrays of the recipe's framework.

        The global model of an unfinished run is that of its last completed round; it is returned only with
        ``raise_on_failure=False``.

        Raises:
            JobFailed, JobAborted: the run did not finish; the message names the round of its model.
            FlareError: there is no such checkpoint; says why.
        """

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics of the run: rows with round, site (None for the federation), key and value."""

    def events(self, *, follow: bool = False) -> Iterator[Event]:
        """Wait for the end, then yield every event of the run, in order.

        Args:
            follow: do not wait: yield what has happened so far, then each event as it happens, up to ``RunEnded``. A
                round that begins again after a crash of the server has its events twice then.
        """

    def abort(self) -> None:
        """Stop the run; do nothing if it has ended."""


@runtime_checkable
class ExecEnv(Protocol):
    """An environment in which jobs run."""

    def deploy(self, job: Job) -> Run:
        """Start ``job`` and return its run.

        Raises:
            RecipeError: the job cannot run in this environment; says why, and which one to use.
        """


@dataclass(slots=True)
class Override:
    """A replacement for the environments in which the recipes of this process are executed.

    Attributes:
        env: the environment of every recipe; None leaves each its own.
        is_used: a recipe was executed or exported.
    """

    env: ExecEnv | None = None
    is_used: bool = False


override = Override()
